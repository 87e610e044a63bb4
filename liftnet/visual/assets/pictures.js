"use strict";
/* The pictures of one case: a row for each plane, in it a figure for each image. */
globalThis.liftnet = globalThis.liftnet || {};

(() => {
  const { make } = liftnet.page;
  const { PLANES, flat, paint, valueFill, errorFill, placeOf, voxelAt, sliceText } =
    liftnet.planes;
  const { valueAt, differenceAt } = liftnet.volumes;
  const { decimalsOf, written } = liftnet.colours;

  // ours: CSS pixels of a column; a page of 1200 px shows six of three planes
  const COLUMN = { all: [110, 300], one: [170, 560] };
  const TALLEST = { all: 360, one: 640 }; // ours: a picture fits on a laptop's screen
  const GAP = 8; // as in page.css
  const PRINTED = 690; // ours: CSS pixels between the margins of A4
  const PRINTED_COLUMN = [70, 170]; // ours: six columns on A4

  /** Returns the columns of a case: {kind, label, image} with kind source, reference, ... */
  function columnsOf(images) {
    const of = (role) => images.filter((image) => image.role === role);
    const one = (kind) => (image) => ({ kind, label: image.label, image });
    return [
      ...of("source").map(one("source")),
      ...of("reference").map(one("reference")),
      ...of("predicted").flatMap((image) => [
        { kind: "predicted", label: image.label, image },
        { kind: "error", label: image.label, image },
      ]),
    ];
  }

  function frameOf(plane, shown, move) {
    const [rows, columns] = [shown.shape[plane.row], shown.shape[plane.column]];
    const canvas = make("canvas", { width: columns, height: rows, role: "img" });
    const frame = make("div", { class: "frame" }, canvas, make("div", { class: "cross" }));
    for (const [side, letter] of Object.entries(plane.edges)) {
      frame.append(make("span", { class: `edge ${side}`, "aria-hidden": "true" }, letter));
    }
    const point = (event) => {
      const box = canvas.getBoundingClientRect();
      move(plane, [
        (event.clientX - box.left) / box.width,
        (event.clientY - box.top) / box.height,
      ]);
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      point(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) point(event);
    });
    return { canvas, frame };
  }

  /** Builds the rows of a case. `jump(at)` is called when a slider or a click moves. */
  function build(shown, images, state, jump) {
    const columns = columnsOf(images);
    const reference = images.find((image) => image.role === "reference");
    const rows = PLANES.map((plane) => rowOf(plane, shown, columns, state, jump));
    const element = make("div", { class: "planes" }, ...rows.map((row) => row.element));
    return { shown, columns, reference, rows, element };
  }

  function rowOf(plane, shown, columns, state, jump) {
    const id = `slice-${plane.name}`;
    const slide = () => {
      const at = [...state.at];
      at[plane.axis] = Number(slider.value);
      jump(at);
    };
    const slider = make("input", {
      type: "range", id, min: 0, max: shown.shape[plane.axis] - 1, step: 1, input: slide,
    });
    const text = make("span", { class: "slice" });
    const move = (moved, place) => jump(voxelAt(moved, shown.shape, state.at, place));
    const pictures = columns.map((column) => {
      const caption = make("figcaption");
      const { canvas, frame } = frameOf(plane, shown, move);
      const figure = make("figure", { class: `picture ${column.kind}` }, caption, frame);
      return { column, caption, canvas, frame, figure };
    });
    const head = make(
      "div", { class: "row-head" },
      make("label", { for: id }, plane.name), text,
      make("span", { class: "end" }, plane.ends[0]), slider,
      make("span", { class: "end" }, plane.ends[1]),
    );
    const scroll = make("div", { class: "scroll" }, ...pictures.map((one) => one.figure));
    const element = make("div", { class: "plane", "data-plane": plane.name }, head, scroll);
    return { plane, slider, text, pictures, element };
  }

  /** Returns what a column shows: its caption and its `fill`. */
  function shownIn(column, view, state) {
    const { grey, absolute, signed } = liftnet.colours;
    if (column.kind === "error") {
      const pixels = state.signed ? signed : absolute;
      const { errorTop } = state;
      const mark = state.signed ? "" : "|";
      return {
        caption: `${mark}${column.label} \u2212 reference${mark}`,
        fill: errorFill(column.image, view.reference, errorTop, state.signed, pixels),
      };
    }
    if (column.kind === "source") {
      return {
        caption: `source ${column.label}`,
        fill: valueFill(column.image, column.image.window, grey),
      };
    }
    const swapped = state.blink && column.kind === "predicted";
    const image = swapped ? view.reference : column.image;
    const caption = column.kind === "reference" ? column.label
      : swapped ? `reference (for ${column.label})`
      : column.label === "predicted" ? column.label : `${column.label} (predicted)`;
    return { caption, swapped, fill: valueFill(image, state.window, grey) };
  }

  /** Draws the planes whose slice moved since `before`; all of them when it is null. */
  function draw(view, state, before) {
    const { shown } = view;
    for (const row of view.rows) {
      const { plane } = row;
      const index = state.at[plane.axis];
      row.element.hidden = state.planes !== "all" && state.planes !== plane.name;
      if (!before || before[plane.axis] !== index) drawRow(row, view, state);
      const text = sliceText(shown, plane.axis, index);
      row.slider.value = index;
      row.slider.setAttribute("aria-valuetext", text);
      row.text.textContent = text;
      const [right, down] = placeOf(plane, shown.shape, state.at);
      for (const { frame } of row.pictures) {
        frame.style.setProperty("--x", `${100 * right}%`);
        frame.style.setProperty("--y", `${100 * down}%`);
      }
    }
    view.element.classList.toggle("no-cross", !state.crosshair);
    view.element.classList.toggle("no-sources", !state.sources);
  }

  function drawRow(row, view, state) {
    const { plane } = row;
    if (row.element.hidden) return;
    for (const picture of row.pictures) {
      if (picture.column.kind === "source" && !state.sources) continue;
      const { caption, swapped, fill } = shownIn(picture.column, view, state);
      paint(picture.canvas, plane, view.shown.shape, state.at[plane.axis], fill);
      if (picture.caption.textContent !== caption) {
        picture.caption.textContent = caption;
        picture.canvas.setAttribute("aria-label", `${caption}, ${plane.name}`);
      }
      picture.figure.classList.toggle("swapped", Boolean(swapped));
    }
  }

  /** Sizes the pictures: one scale for all planes, so that a millimetre is equally long. */
  function fit(view, state, printing) {
    const { shown } = view;
    const visible = view.rows.filter((row) => !row.element.hidden);
    const count = view.columns.filter((one) => one.kind !== "source" || state.sources).length;
    const room = printing ? PRINTED : view.element.clientWidth;
    const mode = visible.length > 1 ? "all" : "one";
    const [least, most] = printing ? PRINTED_COLUMN : COLUMN[mode];
    const column = Math.max(least, Math.min(most, (room - GAP * (count - 1)) / count));
    const length = (axis) => shown.shape[axis] * shown.spacing[axis];
    const widest = Math.max(...visible.map((row) => length(row.plane.column)));
    const highest = Math.max(...visible.map((row) => length(row.plane.row)));
    const scale = Math.min(column / widest, TALLEST[mode] / highest);
    for (const row of visible) {
      for (const { frame, figure } of row.pictures) {
        figure.style.width = `${Math.floor(Math.max(widest * scale, least))}px`;
        frame.style.width = `${(length(row.plane.column) * scale).toFixed(2)}px`;
        frame.style.height = `${(length(row.plane.row) * scale).toFixed(2)}px`;
      }
    }
  }

  /** Returns the values of every image at the crosshair: [{label, value, unit, kind}]. */
  function values(view, state) {
    const i = flat(view.shown.shape, state.at);
    return view.columns.map(({ kind, label, image }) => {
      const decimals = decimalsOf(image.step);
      const error = kind === "error";
      const value = error ? differenceAt(image, view.reference, i) : valueAt(image, i);
      return {
        kind, value,
        label: error ? `${label} \u2212 reference` : kind === "source" ? `source ${label}` : label,
        text: written(value, decimals, error),
        unit: kind === "source" ? image.unit || "" : image.unit || view.shown.unit,
      };
    });
  }

  liftnet.pictures = { build, draw, fit, values };
})();
