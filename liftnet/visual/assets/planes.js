"use strict";
/* The three planes of a (D, H, W) volume: where their pixels lie, and how they are painted. */
globalThis.liftnet = globalThis.liftnet || {};

(() => {
  // D runs to superior, H to posterior, W to the patient's left; superior is drawn up.
  const PLANES = [
    { name: "axial", axis: 0, row: 1, column: 2, upward: false,
      edges: { left: "R", right: "L", top: "A", bottom: "P" }, ends: ["I", "S"] },
    { name: "coronal", axis: 1, row: 0, column: 2, upward: true,
      edges: { left: "R", right: "L", top: "S", bottom: "I" }, ends: ["A", "P"] },
    { name: "sagittal", axis: 2, row: 0, column: 1, upward: true,
      edges: { left: "A", right: "P", top: "S", bottom: "I" }, ends: ["R", "L"] },
  ];

  /** Returns the flat index of the voxel `at` [d, h, w]. */
  function flat(shape, at) {
    return (at[0] * shape[1] + at[1]) * shape[2] + at[2];
  }

  /** Paints one slice: `fill(target, to, from, step, count)` writes the pixels of a row. */
  function paint(canvas, plane, shape, slice, fill) {
    const strides = [shape[1] * shape[2], shape[2], 1];
    const [rows, columns] = [shape[plane.row], shape[plane.column]];
    const context = canvas.getContext("2d");
    const picture = context.createImageData(columns, rows);
    const target = new Uint32Array(picture.data.buffer);
    for (let row = 0; row < rows; row++) {
      const along = plane.upward ? rows - 1 - row : row;
      const from = slice * strides[plane.axis] + along * strides[plane.row];
      fill(target, row * columns, from, strides[plane.column], columns);
    }
    context.putImageData(picture, 0, 0);
  }

  /** Returns the `fill` of an image in a window. */
  function valueFill(image, [low, high], pixels) {
    const scale = 255 / (high - low || 1);
    const slope = image.step * scale;
    const start = (image.offset - low) * scale + 0.5;
    const voxels = image.voxels;
    return (target, to, from, step, count) => {
      for (const end = to + count; to < end; to++, from += step) {
        const level = start + slope * voxels[from];
        target[to] = pixels[level <= 0 ? 0 : level >= 255 ? 255 : level | 0];
      }
    };
  }

  /** Returns the `fill` of |predicted - reference| on [0, top], or of it signed on [-top, top]. */
  function errorFill(predicted, reference, top, signed, pixels) {
    const [ours, theirs] = [predicted.voxels, reference.voxels];
    const scale = (signed ? 127.5 : 255) / (top || 1);
    const start = signed ? 128 : 0.5; // of zero, and half a level to round
    const shift = (predicted.offset - reference.offset) * scale;
    const [mine, other] = [predicted.step * scale, reference.step * scale];
    return (target, to, from, step, count) => {
      for (const end = to + count; to < end; to++, from += step) {
        const error = shift + mine * ours[from] - other * theirs[from];
        const level = start + (signed || error > 0 ? error : -error);
        target[to] = pixels[level <= 0 ? 0 : level >= 255 ? 255 : level | 0];
      }
    };
  }

  /** Returns where the voxel `at` lies in the plane's picture, as fractions [right, down]. */
  function placeOf(plane, shape, at) {
    const right = (at[plane.column] + 0.5) / shape[plane.column];
    const along = (at[plane.row] + 0.5) / shape[plane.row];
    return [right, plane.upward ? 1 - along : along];
  }

  /** Returns `at` moved to the place [right, down] of the plane's picture. */
  function voxelAt(plane, shape, at, [right, down]) {
    const inside = (part, side) => Math.max(0, Math.min(side - 1, Math.floor(part * side)));
    const moved = [...at];
    moved[plane.column] = inside(right, shape[plane.column]);
    const row = inside(down, shape[plane.row]);
    moved[plane.row] = plane.upward ? shape[plane.row] - 1 - row : row;
    return moved;
  }

  /** Returns "slice 87 of 155": counted from 1 on the full grid, a range where it was averaged. */
  function sliceText(shown, axis, index) {
    const first = shown.start[axis] + index * shown.pool;
    const last = Math.min(first + shown.pool, shown.full[axis]);
    const many = last > first + 1;
    return `slice${many ? "s" : ""} ${first + 1}${many ? `\u2013${last}` : ""} of ${shown.full[axis]}`;
  }

  liftnet.planes = {
    PLANES, flat, paint, valueFill, errorFill, placeOf, voxelAt, sliceText,
  };
})();
