// A view of a StreamPlayer: a bar for the cost of each block, spectrograms, numbers.

import { drawFilm, drawHertz, drawTimes, fitCanvas, makeFilm, paced, themeOf, write } from "./picture.js";
import { RATE } from "./sound.js";

const BARS = 92,
  PICTURE = 104,
  GAP = 10,
  AXIS = 20,
  LEFT = 44,
  RIGHT = 6; // CSS pixels

export function showPlayer(engine, model, el) {
  const root = document.createElement("div");
  root.className = "lmdm-player";
  root.innerHTML = `
    <div class="lmdm-head">
      <button type="button" class="lmdm-start">Start</button>
      <span class="lmdm-title"></span>
      <button type="button" class="lmdm-side" aria-pressed="false">hear the reference</button>
      <span class="lmdm-note" role="status"></span>
    </div>
    <div class="lmdm-error" role="alert"></div>
    <canvas role="img"></canvas>
    <div class="lmdm-numbers">
      ${["heard", "block RTF", "lead", "underruns", "first sound"]
        .map((name) => `<div><span>${name}</span><b>–</b></div>`)
        .join("")}
    </div>`;
  el.append(root);
  const [button, side, canvas] = ["button.lmdm-start", "button.lmdm-side", "canvas"].map((s) =>
    root.querySelector(s),
  );
  const [title, note, error] = ["title", "note", "error"].map((name) => root.querySelector(`.lmdm-${name}`));
  const numbers = [...root.querySelectorAll(".lmdm-numbers b")];
  const pen = canvas.getContext("2d");
  const tracks = engine.pictures.length;
  title.textContent = model.get("title");
  side.hidden = tracks < 2;
  canvas.setAttribute("aria-label", "Cost of each block over a spectrogram of the sound");

  let theme = null,
    films = [],
    scale = 1.3;
  const findTheme = themeOf(root),
    again = paced(draw);

  function draw() {
    const fresh = findTheme();
    if (fresh !== theme) {
      theme = fresh;
      films = theme.ramps.map(makeFilm);
    }
    const height = BARS + GAP + tracks * (PICTURE + GAP) - GAP + AXIS;
    const width = fitCanvas(canvas, pen, height);
    const text = (...words) => write(pen, theme, ...words);
    const span = width < 480 ? 8 : width < 760 ? 12 : 16; // seconds in sight
    const now = engine.now(),
      from = Math.max(0, now - 0.7 * span);
    const plot = width - LEFT - RIGHT;
    const place = (seconds) => LEFT + ((seconds - from) / span) * plot;
    pen.clearRect(0, 0, width, height);
    const bottom = height - AXIS;

    // time axis
    drawTimes(pen, theme, from, span, place, bottom);

    // a bar a block: its height is the time it took over the time it lasts
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, plot, height);
    pen.clip();
    const seen = engine.blocks.filter(
      (b) => b.seconds > 0 && b.start < from + span && b.start + b.seconds > from,
    );
    const most = Math.max(1, ...seen.map((b) => b.made / b.seconds));
    scale += 0.15 * (Math.min(4, Math.max(1.35, 1.15 * most)) - scale); // glides, so that bars do not jump
    const up = (factor) => BARS - (Math.min(factor, scale) / scale) * (BARS - 14);
    for (const block of seen) {
      const factor = block.made / block.seconds,
        x = place(block.start),
        top = Math.min(up(factor), BARS - 2);
      const wide = (block.seconds / span) * plot;
      pen.globalAlpha = block.start <= now ? 0.95 : 0.4;
      pen.fillStyle = factor > 1 ? theme.slow : theme.fast;
      pen.beginPath();
      pen.roundRect(x + 0.5, top, Math.max(1, wide - 1.5), BARS - top, [
        Math.min(3, wide / 4),
        Math.min(3, wide / 4),
        0,
        0,
      ]);
      pen.fill();
      pen.globalAlpha = 1;
      if (wide > 30) {
        text(
          factor < 0.1 ? factor.toFixed(3) : factor.toFixed(2),
          x + wide / 2,
          top - 7,
          theme.soft,
          "center",
          10,
        );
      }
      if (block.label && wide > 30) text(block.label, x + wide / 2, BARS + 5, theme.soft, "center", 9);
    }
    pen.strokeStyle = theme.soft;
    pen.setLineDash([4, 4]);
    pen.beginPath();
    pen.moveTo(LEFT, Math.round(up(1)) + 0.5);
    pen.lineTo(width, Math.round(up(1)) + 0.5);
    pen.stroke();
    pen.setLineDash([]);

    // what is heard; what is still to come is veiled
    engine.pictures.forEach((picture, track) => {
      const top = BARS + GAP + track * (PICTURE + GAP);
      const film = films[track](picture);
      drawFilm(pen, film, picture, from, span, place, top, PICTURE);
      pen.globalAlpha = tracks > 1 && (track === 1) !== engine.listening ? 0.35 : 0;
      pen.fillStyle = theme.paper;
      pen.fillRect(LEFT, top, plot, PICTURE);
      pen.globalAlpha = 0.6;
      pen.fillRect(place(now), top, width, PICTURE);
      pen.globalAlpha = 1;
    });
    pen.restore();

    text("real time", width - RIGHT, up(1) - 7, theme.soft, "right", 10);
    text("RTF", LEFT - 6, 8, theme.soft, "right", 10);
    text("1", LEFT - 6, up(1), theme.soft, "right", 10);
    text("0", LEFT - 6, BARS - 3, theme.soft, "right", 10);
    pen.fillStyle = theme.line;
    pen.fillRect(LEFT, BARS, plot, 1);
    for (let track = 0; track < tracks; track++) {
      const top = BARS + GAP + track * (PICTURE + GAP);
      pen.fillStyle = theme.line;
      pen.fillRect(LEFT, top + PICTURE, plot, 1);
      drawHertz(pen, theme, LEFT - 6, top, PICTURE);
      if (tracks > 1)
        text(track ? "reference" : "stream", width - RIGHT - 4, top + 9, theme.soft, "right", 10);
    }
    if (engine.run || now > 0) {
      pen.fillStyle = theme.ink;
      pen.fillRect(Math.round(place(now)) - 0.75, 0, 1.5, bottom);
    } else if (!engine.blocks.length) {
      text("press Start", LEFT + plot / 2, BARS + GAP + PICTURE / 2, theme.soft, "center", 13);
    }
    if (engine.moving || Math.abs(Math.min(4, Math.max(1.35, 1.15 * most)) - scale) > 0.01) again();
  }

  function update() {
    const on = engine.run !== null;
    const block = engine.blocks.at(-1);
    const factor = block && block.seconds > 0 ? block.made / block.seconds : null;
    const lead = on ? Math.max(0, Math.round(1000 * (engine.received / RATE - engine.now()))) : 0;
    const first = engine.firstSound === null ? null : Math.round(engine.firstSound);
    Object.assign(root.dataset, {
      state: engine.state,
      asleep: engine.asleep,
      note: engine.note,
      playedSeconds: (engine.read / RATE).toFixed(3),
      underruns: engine.underruns,
      blocks: engine.blocks.length,
      peak: engine.peak.toFixed(4),
      leadMs: lead,
      firstSoundMs: first ?? "",
      rtf: factor === null ? "" : factor.toFixed(4),
    });
    button.textContent = on ? "Stop" : "Start";
    side.setAttribute("aria-pressed", engine.listening);
    if (note.textContent !== engine.note) note.textContent = engine.note;
    if (error.textContent !== engine.error) error.textContent = engine.error;
    const known = engine.blocks.length > 0;
    [
      known ? `${engine.now().toFixed(1)} s` : "–",
      factor === null ? "–" : factor.toFixed(factor < 0.1 ? 3 : 2),
      on && known ? `${lead} ms` : "–",
      known ? `${engine.underruns}` : "–",
      first === null ? "–" : `${first} ms`,
    ].forEach((value, i) => {
      if (numbers[i].textContent !== value) numbers[i].textContent = value;
    });
    again();
  }

  button.addEventListener("click", () => (engine.run ? engine.stop() : engine.start()));
  root.addEventListener("pointerdown", () => engine.wakeUp());
  side.addEventListener("click", () => engine.hear(!engine.listening));
  const sizes = new ResizeObserver(again);
  sizes.observe(root);
  const themes = new MutationObserver(again);
  themes.observe(document.body, { attributes: true });
  engine.views.add(update);
  update();
  return () => {
    engine.views.delete(update);
    sizes.disconnect();
    themes.disconnect();
    again.stop();
    if (engine.views.size === 0) engine.stop(); // the cell was run again or its output cleared
  };
}
