"use strict";
/* The case shown in 3D with NiiVue, which is unpacked when it is first asked for. */
globalThis.liftnet = globalThis.liftnet || {};

(() => {
  const { make } = liftnet.page;
  const LIBRARY = "niivue"; // id of the element that holds the library
  const OVERLAY_OPACITY = 0.6; // ours: anatomy stays visible below the error

  const PADDING = 14; // ours: pixels, so that L and A of neighbours stay apart
  const CROSS = [1, 0.82, 0.25, 1]; // as in page.css

  let library = null;

  /** Returns a promise of NiiVue's exports. */
  function loadLibrary() {
    library ||= liftnet.volumes.unpack(LIBRARY).then((bytes) => {
      const script = make("script");
      script.textContent = new TextDecoder().decode(bytes);
      document.head.append(script);
      if (!globalThis.niivue) throw new Error("the browser refused to run NiiVue");
      return globalThis.niivue;
    });
    return library;
  }

  function hasWebGL2() {
    const context = document.createElement("canvas").getContext("webgl2");
    if (!context) return false;
    const lose = context.getExtension("WEBGL_lose_context");
    if (lose) lose.loseContext();
    return true;
  }

  /** Returns the place of a voxel in mm: to the right, to anterior, to superior. */
  function worldOf(shown, [d, h, w]) {
    return shown.affine.slice(0, 3).map(([x, y, z, start]) => x * w + y * h + z * d + start);
  }

  /** Returns the button (empty without the library) and the panel; `current()` gives {shown, images, state} of the viewer. */
  function panel(current) {
    const open = make(
      "button", { type: "button", id: "open-space", click: () => show() }, "Open in 3D (NiiVue)",
    );
    const body = make("div", { class: "space", hidden: true });
    let scene = null; // NiiVue's instance while open
    let fields = null;
    let pending = Promise.resolve();

    function nameOf(image) {
      return `${image.role} ${image.label === image.role ? "" : image.label}`.trim();
    }

    function fill() {
      const { images } = current();
      const choices = (list) => list.map((image) =>
        make("option", { value: images.indexOf(image) }, nameOf(image)));
      const ours = images.filter((image) => image.role === "predicted");
      fields.image.replaceChildren(...choices(images));
      fields.image.value = images.indexOf(ours[0]);
      fields.error.replaceChildren(
        make("option", { value: "" }, "none"),
        ...ours.map((image) =>
          make("option", { value: images.indexOf(image) }, `of ${image.label}`)),
      );
    }

    async function load() {
      const { shown, images, state } = current();
      const { NVImage } = await loadLibrary();
      const image = images[Number(fields.image.value)];
      const reference = images.find((one) => one.role === "reference");
      const [low, high] = image.role === "source" ? image.window : state.window;
      const files = [{
        url: "image.nii", buffer: liftnet.nifti.imageFile(shown, image),
        colormap: "gray", cal_min: low, cal_max: high,
      }];
      if (fields.error.value !== "") {
        const predicted = images[Number(fields.error.value)];
        files.push({
          url: "error.nii", buffer: liftnet.nifti.errorFile(shown, predicted, reference),
          colormap: "viridis", cal_min: state.errorTop / 10, cal_max: state.errorTop,
          opacity: OVERLAY_OPACITY,
        });
      }
      if (!scene) return;
      while (scene.volumes.length) scene.removeVolume(scene.volumes[0]);
      for (const { buffer, ...options } of files) {
        const volume = await NVImage.loadFromUrl({ ...options, name: options.url, buffer });
        if (scene) scene.addVolume(volume);
      }
      if (!scene) return;
      scene.scene.crosshairPos = scene.mm2frac(worldOf(shown, state.at));
      scene.drawScene();
      body.dataset.ready = shown.id;
    }

    /** Does one piece of work after the other, and says what went wrong. */
    function guarded(work) {
      pending = pending.then(() => attempt(work));
    }

    async function attempt(work) {
      if (!fields) return;
      try {
        fields.message.textContent = "Loading\u2026";
        await work();
        fields.message.textContent = "";
      } catch (problem) {
        fields.message.textContent = `NiiVue cannot show this case: ${problem.message}`;
      }
    }

    function layout() {
      const change = () => guarded(load);
      fields = {
        image: make("select", { id: "space-image", change }),
        error: make("select", { id: "space-error", change }),
        message: make("p", { class: "message", role: "status" }),
        canvas: make("canvas", { "aria-label": "three planes and a rendering in 3D" }),
      };
      const field = (text, control) => make("label", { class: "field" }, text, control);
      body.replaceChildren(
        make(
          "div", { class: "toolbar" },
          field("Image", fields.image), field("Error on top", fields.error),
          make("button", { type: "button", id: "close-space", click: close }, "Close 3D"),
        ),
        fields.message,
        make("div", { class: "space-canvas" }, fields.canvas),
        make(
          "p", { class: "note" },
          "Click or drag in a plane to move; drag the rendering to turn it; right drag sets " +
            "the window; wheel steps through slices.",
        ),
      );
    }

    function show() {
      open.disabled = true;
      body.hidden = false;
      if (!hasWebGL2()) {
        body.replaceChildren(make(
          "p", { class: "message" },
          "3D needs WebGL 2, which this browser does not offer. The planes show all slices.",
        ));
        return;
      }
      layout();
      fill();
      guarded(async () => {
        const { Niivue, SLICE_TYPE, SHOW_RENDER } = await loadLibrary();
        scene = new Niivue({
          logLevel: "error", dragAndDropEnabled: false, isRadiologicalConvention: true,
          sagittalNoseLeft: true, multiplanarShowRender: SHOW_RENDER.ALWAYS,
          isNearestInterpolation: true, isColorbar: true, loadingText: "",
          multiplanarPadPixels: PADDING, showAllOrientationMarkers: true, crosshairColor: CROSS, crosshairWidth: 0.6,
          crosshairWidthUnit: "mm", fontColor: [0.85, 0.85, 0.85, 1],
        });
        await scene.attachToCanvas(fields.canvas);
        scene.setSliceType(SLICE_TYPE.MULTIPLANAR);
        await load();
      });
    }

    /** Frees the graphics memory and removes the canvas. */
    function close() {
      if (scene) {
        while (scene.volumes.length) scene.removeVolume(scene.volumes[0]);
        scene.cleanup();
        const lose = scene.gl.getExtension("WEBGL_lose_context");
        if (lose) lose.loseContext();
        scene = null;
      }
      delete body.dataset.ready;
      body.replaceChildren();
      body.hidden = true;
      open.disabled = false;
      open.focus();
    }

    function caseChanged() {
      if (!scene) return;
      fill();
      guarded(load);
    }

    return { button: document.getElementById(LIBRARY) ? open : "", body, caseChanged };
  }

  liftnet.space = { panel };
})();
