"use strict";
/* Profiles along the axes: those of the case shown, with a cursor at its slice. */
globalThis.liftnet = globalThis.liftnet || {};

(() => {
  /** Shows the figures of a case and hides those of the others. */
  function showCase(id) {
    for (const figure of document.querySelectorAll("figure[data-case]")) {
      figure.hidden = figure.dataset.case !== id;
    }
  }

  function ends(svg) {
    return [Number(svg.dataset.first), Number(svg.dataset.last)];
  }

  /** Moves the cursors of the case's profiles to the voxel `at`. */
  function moveCursors(shown, at) {
    for (const svg of document.querySelectorAll("svg.profile")) {
      const line = svg.querySelector("line.cursor");
      if (svg.dataset.case !== shown.id || !line) continue;
      const axis = Number(svg.dataset.axis);
      const [first, last] = ends(svg);
      const part = at[axis] / Math.max(1, shown.shape[axis] - 1);
      const x = first + part * (last - first);
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
  }

  /** Calls `move(axis, index)` when a profile of the case that `current()` returns is clicked. */
  function followClicks(current, move) {
    for (const svg of document.querySelectorAll("svg.profile")) {
      svg.addEventListener("click", (event) => {
        const shown = current();
        if (!shown || svg.dataset.case !== shown.id) return;
        const axis = Number(svg.dataset.axis);
        const [first, last] = ends(svg);
        const point = new DOMPoint(event.clientX, event.clientY);
        const { x } = point.matrixTransform(svg.getScreenCTM().inverse());
        const end = shown.shape[axis] - 1;
        const index = Math.round(((x - first) / (last - first || 1)) * end);
        move(axis, Math.max(0, Math.min(end, index)));
      });
    }
  }

  liftnet.profiles = { showCase, moveCursors, followClicks };
})();
