// The surface of JamSession: prompts as pads, and a puck that mixes them.

const MIX_EVERY = 120; // ms between two messages while the puck moves
const LEAST_SHARE = 0.05; // a prompt that weighs less is left out

// Shares of the pads, [text, share]: nearer counts more. `wide`: the surface's width over its height.
export function mixOf(pads, [x, y], wide) {
  const near = pads.map((pad) => 1 / (((pad.x - x) * wide) ** 2 + (pad.y - y) ** 2 + 0.004));
  const sum = (all) => all.reduce((a, b) => a + b, 0);
  const shares = near.map((weight) => weight / sum(near)).map((share) => (share < LEAST_SHARE ? 0 : share));
  const total = sum(shares);
  return pads.map((pad, i) => [pad.text, shares[i] / total]);
}

export function makeSurface(model, changed) {
  const root = Object.assign(document.createElement("div"), { className: "lmdm-surface" });
  const puck = Object.assign(document.createElement("div"), { className: "lmdm-puck", tabIndex: 0 });
  puck.setAttribute("role", "slider");
  puck.setAttribute("aria-label", "mix of the prompts: move with the arrow keys");
  const rays = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  rays.setAttribute("aria-hidden", "true");
  root.append(rays);
  let pads = [];
  const build = () => {
    pads.forEach(({ box }) => box.remove());
    pads = model.get("pads").map(makePad);
  };
  const makePad = (pad, i) => {
    const box = Object.assign(document.createElement("div"), { className: "lmdm-pad" });
    box.innerHTML = `<span class="lmdm-grip" title="drag to move this prompt"></span><textarea rows="1" spellcheck="false"></textarea><b></b>`;
    const input = box.querySelector("textarea");
    input.value = pad.text;
    input.setAttribute("aria-label", `prompt ${i + 1}`);
    input.addEventListener("change", () => change(i, { text: input.value }));
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") {
        event.preventDefault();
        input.blur();
      }
    });
    const grip = box.querySelector(".lmdm-grip");
    Object.assign(grip, { tabIndex: 0, ariaLabel: `move prompt ${i + 1} with the arrow keys` });
    grip.setAttribute("role", "button");
    drag(grip, (x, y) => change(i, { x, y }));
    byArrows(grip, (dx, dy) => change(i, { x: model.get("pads")[i].x + dx, y: model.get("pads")[i].y + dy }));
    puck.before(box);
    return { box, input, share: box.querySelector("b") };
  };
  root.append(puck);
  drag(puck, movePuck);
  root.addEventListener("pointerdown", (event) => {
    if (event.target === root || event.target === rays) movePuck(...at(event));
  });
  byArrows(puck, (dx, dy) => movePuck(model.get("puck")[0] + dx, model.get("puck")[1] + dy));

  const inside = (value) => Math.max(0.03, Math.min(0.97, value));
  function at(event) {
    const box = root.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }
  function byArrows(handle, move) {
    handle.addEventListener("keydown", (event) => {
      const step = {
        ArrowLeft: [-0.04, 0],
        ArrowRight: [0.04, 0],
        ArrowUp: [0, -0.04],
        ArrowDown: [0, 0.04],
      }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      move(...step);
    });
  }
  function drag(handle, move) {
    handle.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      handle.setPointerCapture(event.pointerId);
      handle.focus?.();
      const follow = (moved) => move(...at(moved));
      handle.addEventListener("pointermove", follow);
      // after pointerup, and after whatever else ends it
      handle.addEventListener("lostpointercapture", () => handle.removeEventListener("pointermove", follow), {
        once: true,
      });
    });
  }
  function movePuck(x, y) {
    model.set("puck", [inside(x), inside(y)]);
  }
  function change(i, what) {
    const places = Object.fromEntries(
      Object.entries(what).map(([key, value]) => [key, key === "text" ? value : inside(value)]),
    );
    model.set(
      "pads",
      model.get("pads").map((pad, k) => (k === i ? { ...pad, ...places } : pad)),
    );
  }
  let timer = null;
  function keep() {
    // what Python sees of it, and the mix: not for every pixel
    show();
    timer ??= setTimeout(() => {
      timer = null;
      model.save_changes();
      changed(mix());
    }, MIX_EVERY);
  }
  function mix() {
    return mixOf(model.get("pads"), model.get("puck"), (root.clientWidth || 2) / (root.clientHeight || 1));
  }
  function show() {
    if (pads.length !== model.get("pads").length) build();
    const shares = mix(),
      [px, py] = model.get("puck");
    const percent = (value) => `${100 * value}%`;
    rays.replaceChildren(
      ...model.get("pads").map((pad, i) => {
        const ray = document.createElementNS("http://www.w3.org/2000/svg", "line");
        Object.entries({ x1: percent(px), y1: percent(py), x2: percent(pad.x), y2: percent(pad.y) }).forEach(
          ([k, v]) => ray.setAttribute(k, v),
        );
        ray.style.strokeWidth = 1 + 7 * shares[i][1];
        ray.style.opacity = shares[i][1] ? 0.15 + 0.6 * shares[i][1] : 0;
        return ray;
      }),
    );
    model.get("pads").forEach((pad, i) => {
      Object.assign(pads[i].box.style, { left: percent(pad.x), top: percent(pad.y) });
      pads[i].box.classList.toggle("lmdm-on", shares[i][1] > 0);
      pads[i].share.textContent = shares[i][1] ? `${Math.round(100 * shares[i][1])} %` : "";
      if (document.activeElement !== pads[i].input && pads[i].input.value !== pad.text)
        pads[i].input.value = pad.text;
    });
    Object.assign(puck.style, { left: percent(px), top: percent(py) });
    puck.setAttribute("aria-valuemin", 0);
    puck.setAttribute("aria-valuemax", 100);
    puck.setAttribute("aria-valuenow", Math.round(100 * Math.max(...shares.map(([, share]) => share))));
    puck.setAttribute(
      "aria-valuetext",
      shares
        .filter(([, share]) => share)
        .map(([text, share]) => `${Math.round(100 * share)} % ${text || "anything"}`)
        .join(", "),
    );
  }
  model.on("change:pads", keep); // here, or from a cell
  model.on("change:puck", keep);
  return {
    root,
    mix,
    show,
    stop: () => {
      model.off("change:pads", keep);
      model.off("change:puck", keep);
    },
  };
}
