"use strict";
/* NIfTI-1 files in memory: what NiiVue reads. */
globalThis.liftnet = globalThis.liftnet || {};

(() => {
  const HEADER = 352; // NIfTI-1: 348 bytes and four of no extension
  const TYPES = { // NIfTI-1: datatype codes
    Uint16Array: 512,
    Float32Array: 16,
  };

  /** Returns an ArrayBuffer with a NIfTI-1 file of voxels (D, H, W), W fastest. */
  function file(shown, voxels, { slope = 1, intercept = 0 } = {}) {
    const buffer = new ArrayBuffer(HEADER + voxels.byteLength);
    const head = new DataView(buffer);
    const put = (kind, at, ...values) => {
      const size = kind === "Int16" ? 2 : 4;
      values.forEach((value, k) => head[`set${kind}`](at + k * size, value, true));
    };
    const [depth, height, width] = shown.shape;
    const [z, y, x] = shown.spacing;
    put("Int32", 0, 348);
    put("Int16", 40, 3, width, height, depth, 1, 1, 1, 1);
    put("Int16", 70, TYPES[voxels.constructor.name], 8 * voxels.BYTES_PER_ELEMENT);
    put("Float32", 76, 1, x, y, z, 1, 1, 1, 1);
    put("Float32", 108, HEADER, slope, intercept);
    head.setUint8(123, 2); // xyzt_units: mm
    put("Int16", 252, 0, 1); // no qform; sform: scanner coordinates
    shown.affine.slice(0, 3).forEach((row, k) => put("Float32", 280 + 16 * k, ...row));
    [0x6e, 0x2b, 0x31, 0].forEach((byte, k) => head.setUint8(344 + k, byte)); // "n+1"
    new voxels.constructor(buffer, HEADER).set(voxels);
    return buffer;
  }

  /** Returns the file of an image. */
  function imageFile(shown, image) {
    return file(shown, image.voxels, { slope: image.step, intercept: image.offset });
  }

  /** Returns the file of |predicted - reference|. */
  function errorFile(shown, predicted, reference) {
    const errors = new Float32Array(predicted.voxels.length);
    for (let i = 0; i < errors.length; i++) {
      errors[i] = Math.abs(liftnet.volumes.differenceAt(predicted, reference, i));
    }
    return file(shown, errors);
  }

  liftnet.nifti = { imageFile, errorFile };
})();
