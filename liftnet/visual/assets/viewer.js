"use strict";
/* The viewer: what is shown, what changes it, and the start of the page. */
globalThis.liftnet = globalThis.liftnet || {};

(() => {
  const { make, makeSortable, followLinks, preparePrint } = liftnet.page;
  const { caseChooser, toolbar, readout, bars, keyList } = liftnet.controls;
  const { pictures, profiles, volumes } = liftnet;

  const PLANE_KEYS = { 0: "all", 1: "axial", 2: "coronal", 3: "sagittal" };

  /** Builds the viewer of `cases` inside `root` and returns what others may call. */
  function start(root, cases) {
    const state = {
      at: [0, 0, 0], window: [0, 1], fullWindow: [0, 1], errorTop: 1, unit: "",
      signed: false, blink: false, crosshair: true, sources: true, planes: "all",
      chosen: false, // whether the reader set a window, which then stays for the next case
    };
    let index = -1;
    let view = null;
    let images = [];

    const chooser = caseChooser(cases, (at) => showIndex(at));
    const space = liftnet.space.panel(() => ({ shown: cases[index], images, state }));
    const tools = toolbar(state, change, reset, space.button);
    const title = make("h3");
    chooser.element.append(title);
    const metrics = make("div", { class: "metrics" });
    const values = make("div", { class: "readout" });
    const scales = make("div", { class: "bars" });
    const box = make("div", { class: "box-of-planes" });
    const message = make("p", { class: "message", role: "status" });
    root.replaceChildren(
      chooser.element, message, metrics, tools.element, box, values, scales, space.body,
      keyList(),
    );

    function jump(at) {
      const before = state.at;
      if (!view || before.every((value, axis) => value === at[axis])) return;
      state.at = at;
      pictures.draw(view, state, before);
      showValues();
      profiles.moveCursors(view.shown, at);
    }

    function showValues() {
      values.replaceChildren(...readout(pictures.values(view, state), state.unit));
    }

    function change(part) {
      if (part.window && !(part.window[0] < part.window[1])) return tools.show();
      if (part.errorTop !== undefined && !(part.errorTop > 0)) return tools.show();
      if (part.window || part.errorTop !== undefined) state.chosen = true;
      Object.assign(state, part);
      if (view) refresh();
    }

    function reset() {
      const shown = cases[index];
      change({ window: [...shown.window], errorTop: shown.errorWindow[1] });
      state.chosen = false;
    }

    function refresh() {
      tools.show();
      pictures.draw(view, state, null);
      pictures.fit(view, state, false);
      scales.replaceChildren(...bars(state, images));
      showValues();
    }

    async function showIndex(wanted) {
      if (wanted < 0 || wanted >= cases.length || wanted === index) return;
      index = wanted;
      const shown = cases[wanted];
      chooser.show(wanted);
      title.replaceChildren(shown.title, " ", make("span", { class: "tag" }, shown.role));
      const lines = [].concat(shown.metrics || []);
      metrics.replaceChildren(...lines.map((line) => make("p", {}, line)));
      message.textContent = "Unpacking the images\u2026";
      root.dataset.shown = "";
      try {
        const unpacked = await volumes.load(shown);
        if (index !== wanted) return; // another case was chosen meanwhile
        images = unpacked;
      } catch (problem) {
        message.textContent = `The images of this case cannot be shown: ${problem.message}`;
        return;
      }
      message.textContent = "";
      showCase(shown);
    }

    function showCase(shown) {
      const sameUnit = state.unit === shown.unit;
      state.unit = shown.unit;
      state.fullWindow = shown.window;
      if (!(state.chosen && sameUnit)) {
        state.window = [...shown.window];
        state.errorTop = shown.errorWindow[1];
        state.chosen = false;
      }
      state.at = [...shown.slices];
      view = pictures.build(shown, images, state, jump);
      box.replaceChildren(view.element);
      refresh();
      profiles.showCase(shown.id);
      profiles.moveCursors(shown, state.at);
      space.caseChanged();
      root.dataset.shown = shown.id;
    }

    function move(axis, slice) {
      const at = [...state.at];
      at[axis] = slice;
      jump(at);
    }

    const keys = {
      b: () => change({ blink: !state.blink }),
      e: () => change({ signed: !state.signed }),
      x: () => change({ crosshair: !state.crosshair }),
      s: () => change({ sources: !state.sources }),
      p: () => chooser.step(-1),
      n: () => chooser.step(1),
    };
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || !view) return;
      const { target } = event;
      if (target.matches("select, textarea, input:not([type=range], [type=checkbox])")) return;
      if (target.closest(".space")) return; // NiiVue has keys of its own
      if (PLANE_KEYS[event.key]) change({ planes: PLANE_KEYS[event.key] });
      else if (keys[event.key]) keys[event.key]();
    });
    new ResizeObserver(() => view && pictures.fit(view, state, false)).observe(box);
    preparePrint((printing) => view && pictures.fit(view, state, printing));
    profiles.followClicks(() => view && view.shown, move);
    followLinks((id) => showIndex(cases.findIndex((one) => one.id === id)));
    showIndex(0);
  }

  for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
  const root = document.getElementById("viewer");
  const cases = volumes.cases();
  if (root && cases.length) start(root, cases);
})();
