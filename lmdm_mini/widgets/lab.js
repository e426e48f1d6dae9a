// The browser's half of the complexity lab (lab.py): shows the picture, plays the sound behind a point,
// asks for a measurement. The sliders are ipywidgets.

import { openLine } from "./line.js";

function render({ model, el }) {
  const kernel = model.widget_manager?.kernel;
  let line = null,
    playing = null;
  el.classList.add("lmdm-lab");
  const picture = document.createElement("div");
  const foot = document.createElement("div");
  const measure = document.createElement("button");
  const note = document.createElement("span");
  picture.className = "lmdm-lab-picture";
  foot.className = "lmdm-lab-foot";
  measure.className = "lmdm-lab-measure";
  measure.textContent = "Measure here";
  measure.title = "Time this setting on your machine, all four systems";
  note.className = "lmdm-lab-note";
  note.setAttribute("role", "status");
  foot.append(measure, note);
  el.append(picture, foot);

  async function send(message) {
    try {
      if (kernel?.createComm)
        (await (line ??= openLine(kernel, "lmdm_mini.lab", model.get("lab_id")))).send(message);
      else model.send(message);
    } catch (problem) {
      console.warn("ComplexityLab:", problem);
      line = null;
      note.textContent = "There is no running kernel behind this page: run the notebook to use the lab.";
    }
  }

  function draw() {
    const focused = picture.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    picture.innerHTML = model.get("svg");
    if (focused) picture.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    el.dataset.draws = Number(el.dataset.draws || 0) + 1;
  }

  function tell() {
    note.textContent = model.get("note");
    measure.disabled = model.get("measuring");
  }

  function stop() {
    playing?.pause();
    playing = null;
    el.dataset.playing = "";
    picture.querySelectorAll(".lmdm-playing").forEach((point) => point.classList.remove("lmdm-playing"));
  }

  async function play(point) {
    const key = point.dataset.key,
      again = el.dataset.playing === key;
    stop();
    if (again) return; // a second click is silence
    el.dataset.playing = key;
    point.classList.add("lmdm-playing");
    send({ kind: "sound", key });
  }

  function heard(message, buffers) {
    if (message.kind !== "sound" || message.key !== el.dataset.playing) return;
    playing = new Audio(URL.createObjectURL(new Blob([buffers[0]], { type: "audio/mpeg" })));
    playing.addEventListener("ended", stop);
    playing.addEventListener("timeupdate", () => {
      el.dataset.seconds = playing?.currentTime ?? 0;
    });
    playing.play().catch((problem) => {
      note.textContent = `The sound cannot be played: ${problem.message}`;
      stop();
    });
  }

  const point = (event) => event.target.closest?.("[data-key]");
  picture.addEventListener("click", (event) => point(event) && play(point(event)));
  picture.addEventListener("keydown", (event) => {
    if (point(event) && ["Enter", " "].includes(event.key)) {
      event.preventDefault();
      play(point(event));
    }
  });
  measure.addEventListener("click", () => send({ kind: "measure" }));
  model.on("change:svg", draw);
  model.on("change:note change:measuring", tell);
  model.on("msg:custom", heard);
  draw();
  tell();
  return () => {
    stop();
    line?.then(
      (comm) => comm.close(),
      () => {},
    );
  };
}

export default { render };
