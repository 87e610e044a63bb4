"use strict";
/* The controls above the pictures, the values at the crosshair and the colour bars. */
globalThis.liftnet = globalThis.liftnet || {};

(() => {
  const { make } = liftnet.page;

  // name -> [level, width] in HU, as radiologists set them
  const HU_PRESETS = { "soft tissue": [40, 400], brain: [40, 80], bone: [500, 2000] };
  const KEYS = [
    ["\u2190 \u2192 on a slider", "one slice back or on (Page Up, Page Down: ten; Home, End)"],
    ["b", "blink: the reference in place of every predicted image, and back"],
    ["e", "error: absolute or signed"],
    ["x", "crosshair on or off"],
    ["s", "sources shown or hidden"],
    ["1, 2, 3, 0", "axial, coronal, sagittal, all three planes"],
    ["p, n", "previous case, next case"],
  ];

  /** Returns whether a unit fits beside each number; a long one is said once. */
  function isShort(unit) {
    return unit.length <= 4; // ours: HU does, "of the range [0, 1]" does not
  }

  function option(value, text) {
    return make("option", { value }, text);
  }

  function field(text, control) {
    return make("label", { class: "field" }, make("span", {}, text), control);
  }

  function check(text, checked, change) {
    const box = make("input", { type: "checkbox", checked, change: () => change(box.checked) });
    return { box, element: make("label", { class: "check" }, box, text) };
  }

  function number(id, change) {
    return make("input", { type: "number", id, step: "any", change });
  }

  /** Returns the case chooser; `choose(index)` is called with the place in the list. */
  function caseChooser(cases, choose) {
    const select = make(
      "select", { id: "case", change: () => choose(select.selectedIndex) },
      ...cases.map((one) => option(one.id, `${one.role}: ${one.title}`)),
    );
    const step = (by) => choose(select.selectedIndex + by);
    const previous = make("button", { type: "button", click: () => step(-1) }, "\u2039 Previous");
    const next = make("button", { type: "button", click: () => step(1) }, "Next \u203a");
    const element = make("div", { class: "chooser" }, field("Case", select), previous, next);
    const show = (index) => {
      select.selectedIndex = index;
      previous.disabled = index === 0;
      next.disabled = index === cases.length - 1;
    };
    return { element, show, step };
  }

  /** Returns the tool bar. `change(part)` takes what a control changes; `extra` is put last. */
  function toolbar(state, change, reset, extra) {
    const planes = make(
      "select", { id: "planes", change: () => change({ planes: planes.value }) },
      option("all", "all three"), option("axial", "axial"),
      option("coronal", "coronal"), option("sagittal", "sagittal"),
    );
    const sources = check("sources", true, (on) => change({ sources: on }));
    const cross = check("crosshair", true, (on) => change({ crosshair: on }));
    const windowed = () => change({ window: [Number(low.value), Number(high.value)] });
    const low = number("window-low", windowed);
    const high = number("window-high", windowed);
    const preset = make(
      "select", { id: "preset", change: () => choosePreset(preset.value) },
      option("", "own"), option("full", "air to bone"),
      ...Object.entries(HU_PRESETS).map(([name, [level, width]]) =>
        option(name, `${name} (${level}/${width})`)),
    );
    const choosePreset = (name) => {
      if (name === "full") change({ window: state.fullWindow });
      if (!HU_PRESETS[name]) return;
      const [level, width] = HU_PRESETS[name];
      change({ window: [level - width / 2, level + width / 2] });
    };
    const presetField = field("preset", preset);
    const kind = make(
      "select", { id: "error-kind", change: () => change({ signed: kind.value === "signed" }) },
      option("absolute", "absolute |predicted \u2212 reference|"),
      option("signed", "signed predicted \u2212 reference"),
    );
    const top = number("error-top", () => change({ errorTop: Number(top.value) }));
    const blink = make(
      "button",
      { type: "button", id: "blink", click: () => change({ blink: !state.blink }) },
      "Blink: reference (b)",
    );
    const units = [make("span", { class: "note" }), make("span", { class: "note" })];
    const group = (name, ...parts) =>
      make("div", { class: "group", role: "group", "aria-label": name }, ...parts);
    const element = make(
      "div", { class: "toolbar" },
      group("Planes", field("Planes", planes), sources.element, cross.element),
      group(
        "Window", field("Window from", low), field("to", high), units[0], presetField,
        make("button", { type: "button", id: "reset", click: reset }, "Reset"),
      ),
      group("Error", field("Error", kind), field("up to", top), units[1]),
      group("Compare", blink, extra),
    );
    const show = () => {
      planes.value = state.planes;
      sources.box.checked = state.sources;
      cross.box.checked = state.crosshair;
      [low.value, high.value] = state.window.map((value) => Number(value.toPrecision(5)));
      top.value = Number(state.errorTop.toPrecision(5));
      kind.value = state.signed ? "signed" : "absolute";
      blink.setAttribute("aria-pressed", String(state.blink));
      presetField.hidden = state.unit !== "HU";
      preset.value = presetOf(state);
      for (const unit of units) unit.textContent = isShort(state.unit) ? state.unit : "";
    };
    return { element, show };
  }

  function presetOf({ window: [low, high], fullWindow }) {
    const [level, width] = [(low + high) / 2, high - low];
    for (const [name, preset] of Object.entries(HU_PRESETS)) {
      if (preset[0] === level && preset[1] === width) return name;
    }
    return low === fullWindow[0] && high === fullWindow[1] ? "full" : "";
  }

  /** Returns a line of values at the crosshair. */
  function readout(values, unit) {
    const short = isShort(unit);
    const entries = values.map((one) => {
      const own = one.unit === unit && !short ? "" : one.unit;
      return make(
        "div", { class: `value ${one.kind}` },
        make("dt", {}, one.label),
        make("dd", { "data-value": one.value }, one.text, own ? ` ${own}` : ""),
      );
    });
    const said = short ? "" : ` (predicted, reference and difference: ${unit})`;
    return [
      make("p", { class: "note" }, `Values at the crosshair${said}`),
      make("dl", {}, ...entries),
    ];
  }

  /** Returns the colour bars of a state, and the windows of the sources. */
  function bars(state, images) {
    const { bar, grey, absolute, signed, rangeDecimals, written } = liftnet.colours;
    const top = state.errorTop;
    const sources = images.filter((image) => image.role === "source");
    const windows = sources.map(({ label, window, unit }) => {
      const [from, to] = window.map((value) => written(value, rangeDecimals(window)));
      return `${label} ${from} to ${to}${unit ? ` ${unit}` : ""}`;
    });
    return [
      bar("predicted and reference", grey, state.window, state.unit),
      state.signed
        ? bar("predicted \u2212 reference", signed, [-top, top], state.unit, true)
        : bar("|predicted \u2212 reference|", absolute, [0, top], state.unit),
      windows.length && state.sources
        ? make("p", { class: "note" }, `Sources, each from black to white: ${windows.join("; ")}.`)
        : "",
    ];
  }

  /** Returns the list of keys, folded away. */
  function keyList() {
    const lines = KEYS.flatMap(([key, what]) => [
      make("dt", {}, make("kbd", {}, key)), make("dd", {}, what),
    ]);
    return make(
      "details", { class: "keys" }, make("summary", {}, "Keyboard"), make("dl", {}, ...lines),
    );
  }

  liftnet.controls = { caseChooser, toolbar, readout, bars, keyList };
})();
