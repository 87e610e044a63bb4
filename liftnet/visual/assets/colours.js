"use strict";
/* Colour maps of 256 entries, colour bars, and how numbers are written. */
globalThis.liftnet = globalThis.liftnet || {};

(() => {
  const GREY = ["000000", "ffffff"];
  const ABSOLUTE = ( // matplotlib's viridis (CC0) at 17 places: even in lightness
    "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c " +
    "1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725"
  ).split(" ");
  const SIGNED = [ // ours: blue below, orange above, told apart by colour-blind readers
    "08305f", "1f6fb2", "8cbce0", "f5f5f5", "f0b27a", "c9621a", "6b2a06",
  ];
  const TICKS = 5; // ours: both ends, the middle and the quarters

  function channels(hex) {
    return [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
  }

  /** Returns 256 pixels (alpha, blue, green, red) between the stops. */
  function table(stops) {
    const colours = stops.map(channels);
    const pixels = new Uint32Array(256);
    for (let i = 0; i < 256; i++) {
      const place = (i / 255) * (colours.length - 1);
      const below = Math.min(Math.floor(place), colours.length - 2);
      const [red, green, blue] = [0, 1, 2].map((k) => {
        const [from, to] = [colours[below][k], colours[below + 1][k]];
        return Math.round(from + (place - below) * (to - from));
      });
      pixels[i] = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    }
    return pixels;
  }

  /** Returns how many decimals values need that differ by `step` at least. */
  function decimalsOf(step) {
    return Math.max(0, Math.min(4, Math.ceil(-Math.log10(Math.abs(step) || 1))));
  }

  /** Returns how many decimals the numbers beside a colour bar need. */
  function rangeDecimals([low, high]) {
    return decimalsOf((high - low) / (10 * (TICKS - 1)));
  }

  /** Returns a number as text, with a true minus sign; `plus` marks what is above zero. */
  function written(value, decimals, plus = false) {
    const text = Math.abs(value).toFixed(decimals);
    if (Number(text) === 0) return text;
    return (value < 0 ? "\u2212" : plus ? "+" : "") + text;
  }

  /** Returns a figure with a colour bar, its numbers, its unit and a title. */
  function bar(title, pixels, [low, high], unit, plus = false) {
    const { make } = liftnet.page;
    const canvas = make("canvas", { width: 256, height: 1, "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    const line = context.createImageData(256, 1);
    new Uint32Array(line.data.buffer).set(pixels);
    context.putImageData(line, 0, 0);
    const decimals = rangeDecimals([low, high]);
    const ticks = Array.from({ length: TICKS }, (_, k) => {
      const value = low + ((high - low) * k) / (TICKS - 1);
      return make("span", {}, written(value, decimals, plus));
    });
    return make(
      "figure", { class: "colour-bar" },
      make("figcaption", {}, title, unit ? make("span", { class: "note" }, ` ${unit}`) : ""),
      canvas,
      make("div", { class: "ticks" }, ...ticks),
    );
  }

  liftnet.colours = {
    grey: table(GREY), absolute: table(ABSOLUTE), signed: table(SIGNED),
    bar, decimalsOf, rangeDecimals, written,
  };
})();
