// The picture of a JamSession: what the player and the model play, one above the other, and which block
// has heard what.

import { drawFilm, drawHertz, drawTimes, fitCanvas, makeFilm, themeOf, write } from "./picture.js";
import { RATE } from "./sound.js";

const TRACK = 88,
  SPACE = 22,
  FOOT = 20,
  MARGIN = 44,
  TOP = 16; // CSS pixels

// A function that draws `jam` into a canvas of `root`.
export function makePicture(jam, root, canvas) {
  const pen = canvas.getContext("2d"),
    findTheme = themeOf(root);
  let theme = null,
    films = [];

  function draw() {
    const fresh = findTheme();
    if (fresh !== theme) {
      theme = fresh;
      films = [...theme.ramps].reverse().map(makeFilm);
    }
    const height = TOP + 2 * TRACK + SPACE + FOOT,
      width = fitCanvas(canvas, pen, height),
      bottom = height - FOOT;
    const span = width < 480 ? 6 : width < 760 ? 9 : 12; // seconds in sight
    const now = jam.now(),
      from = Math.max(0, now - 0.8 * span),
      plot = width - MARGIN - 6;
    const place = (seconds) => MARGIN + ((seconds - from) / span) * plot;
    const tops = [TOP, TOP + TRACK + SPACE];
    pen.clearRect(0, 0, width, height);
    drawTimes(pen, theme, from, span, place, bottom);
    pen.save();
    pen.beginPath();
    pen.rect(MARGIN, 0, plot, height);
    pen.clip();
    [jam.played, jam.made].forEach((picture, i) => {
      drawFilm(pen, films[i](picture), picture, from, span, place, tops[i], TRACK);
      pen.globalAlpha = 0.6; // what is still to come is veiled
      pen.fillStyle = theme.paper;
      pen.fillRect(place(now), tops[i], width, TRACK);
      pen.globalAlpha = 1;
    });
    drawBlocks(from, span, place, tops, now);
    pen.restore();
    tops.forEach((top, i) => {
      pen.fillStyle = theme.line;
      pen.fillRect(MARGIN, top + TRACK, plot, 1);
      drawHertz(pen, theme, MARGIN - 6, top, TRACK);
      write(pen, theme, i ? "the model" : "you", width - 10, top + 9, theme.soft, "right", 10);
    });
    if (jam.run || now > 0) {
      pen.fillStyle = theme.ink;
      pen.fillRect(Math.round(place(now)) - 0.75, TOP, 1.5, bottom - TOP);
    } else
      write(
        pen,
        theme,
        "press Start, then move the puck",
        MARGIN + plot / 2,
        tops[1] + TRACK / 2,
        theme.soft,
        "center",
        13,
      );
  }

  // Borders of blocks; a line leads from what was the newest of the player's sound to the block that has
  // heard it.
  function drawBlocks(from, span, place, tops, now) {
    let before = null;
    for (const block of jam.blocks) {
      const start = block.start / RATE,
        seconds = block.samples / RATE;
      if (start + seconds > from && start < from + span) {
        pen.fillStyle = theme.line;
        pen.fillRect(Math.round(place(start)), tops[1], 1, TRACK);
        const factor = block.made / seconds;
        write(
          pen,
          theme,
          factor.toFixed(2),
          place(start + seconds / 2),
          8,
          factor > 1 ? theme.slow : theme.soft,
          "center",
          9,
        );
        if (before && block.heard > before.heard) {
          const heard = place(block.heard / RATE),
            [above, below] = [tops[0] + TRACK + 2, tops[1] - 2];
          pen.strokeStyle = pen.fillStyle = theme.soft;
          pen.globalAlpha = start <= now ? 1 : 0.5;
          pen.beginPath();
          pen.moveTo(heard, above);
          pen.lineTo(place(start), below);
          pen.stroke();
          pen.fillRect(heard - 1.5, above - 1, 3, 3);
          pen.globalAlpha = 1;
        }
      }
      before = block;
    }
  }

  return draw;
}
