"use strict";
/* Unpacks what the page embeds: the case list, volumes and the NiiVue library. */
globalThis.liftnet = globalThis.liftnet || {};

(() => {
  const KEPT_CASES = 2; // ours: the one shown and the one before; 200^3 voxels are 16 MB an image

  const kept = new Map(); // case id -> promise of its images, the latest last

  /** Returns the bytes of a base64 text. */
  function bytesOf(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  /** Returns the unpacked bytes of the element `id`, which holds base64 of gzip. */
  async function unpack(id) {
    const element = document.getElementById(id);
    if (!element) throw new Error(`the page holds no element "${id}"`);
    if (!globalThis.DecompressionStream) {
      throw new Error("this browser cannot unpack gzip: it needs to be from 2023 or later");
    }
    const packed = new Blob([bytesOf(element.textContent)]);
    const stream = packed.stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /** Returns the uint16 voxels (D, H, W) of low bytes, then high bytes, of zigzag differences. */
  function voxelsOf(bytes, [depth, height, width]) {
    const count = depth * height * width;
    if (bytes.length !== 2 * count) {
      throw new Error(`expected ${2 * count} bytes of a volume, got ${bytes.length}`);
    }
    const voxels = new Uint16Array(count);
    for (let row = 0; row < count; row += width) {
      let value = 0;
      for (let i = row; i < row + width; i++) {
        const coded = bytes[i] | (bytes[count + i] << 8);
        value = (value + ((coded >>> 1) ^ -(coded & 1))) & 0xffff;
        voxels[i] = value;
      }
    }
    return voxels;
  }

  async function unpackCase(shown) {
    const images = [];
    for (const image of shown.images) {
      const voxels = voxelsOf(await unpack(image.data), shown.shape);
      images.push({ ...image, voxels });
    }
    return images;
  }

  /** Returns a promise of the images of a case, each with its `voxels`; two cases are kept. */
  function load(shown) {
    const images = kept.get(shown.id) || unpackCase(shown);
    kept.delete(shown.id);
    kept.set(shown.id, images);
    while (kept.size > KEPT_CASES) kept.delete(kept.keys().next().value);
    return images;
  }

  /** Returns the value of an image at the flat index `i`. */
  function valueAt(image, i) {
    return image.offset + image.step * image.voxels[i];
  }

  /** Returns predicted - reference at the flat index `i`. */
  function differenceAt(predicted, reference, i) {
    return valueAt(predicted, i) - valueAt(reference, i);
  }

  /** Returns the list of cases of the page, empty if there is none. */
  function cases() {
    const element = document.getElementById("cases");
    return element ? JSON.parse(element.textContent).cases : [];
  }

  liftnet.volumes = { cases, load, unpack, valueAt, differenceAt, kept };
})();
