// Drawing what is played, in the colours of the notebook's theme.

import { RATE } from "./sound.js";
import { COLUMNS, HIGHEST, HOP, LOWEST, ROWS } from "./spectrogram.js";

// ---------------------------------------------------------------- colours and films
function readTheme(root) {
  const style = getComputedStyle(root);
  const name = (key) => style.getPropertyValue(`--lmdm-${key}`).trim();
  const rgb = (text) =>
    text
      .match(/[\d.]+/g)
      .slice(0, 3)
      .map(Number);
  const hex = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
  const paper = rgb(style.backgroundColor);
  const dark = paper[0] + paper[1] + paper[2] < 384;
  const ramp = (color) => {
    // 256 colours from paper over the hue to what stands out most
    const stops = [paper, hex(color), dark ? [255, 250, 240] : hex(color).map((v) => v * 0.28)];
    return Array.from({ length: 256 }, (_, i) => {
      const x = (i / 255) * 2,
        k = Math.min(1, Math.floor(x));
      return stops[k].map((v, j) => v + (x - k) * (stops[k + 1][j] - v));
    });
  };
  return {
    key: style.backgroundColor + style.color,
    ink: style.color,
    line: style.borderTopColor,
    soft: getComputedStyle(root.querySelector(".lmdm-note")).color,
    paper: style.backgroundColor,
    fast: name("context"),
    slow: name("fake"),
    font: style.fontFamily,
    ramps: [ramp(name("context")), ramp(name("real"))],
  };
}

// The columns of a spectrogram as a canvas whose x is the column's place in the ring.
export function makeFilm(ramp) {
  const canvas = Object.assign(document.createElement("canvas"), { width: COLUMNS, height: ROWS });
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(1, ROWS);
  let drawn = 0,
    last = null;
  return (picture) => {
    if (picture !== last) {
      pen.clearRect(0, 0, COLUMNS, ROWS);
      drawn = 0;
      last = picture;
    }
    for (drawn = Math.max(drawn, picture.count - COLUMNS); drawn < picture.count; drawn++) {
      const x = drawn % COLUMNS;
      for (let row = 0; row < ROWS; row++) {
        const color = ramp[picture.values[x * ROWS + row]],
          at = 4 * (ROWS - 1 - row);
        image.data.set([color[0], color[1], color[2], 255], at);
      }
      pen.putImageData(image, x, 0);
    }
    return canvas;
  };
}

// ---------------------------------------------------------------- drawing
const PACE = 66; // ms: a faster picture takes the processor from the model

// A function that asks for `draw` to be called soon, and not more often than every PACE ms; `.stop()`
// ends that.
export function paced(draw) {
  let waiting = false,
    last = 0,
    stopped = false;
  const again = () => {
    if (waiting || stopped) return;
    waiting = true;
    setTimeout(
      () =>
        requestAnimationFrame(() => {
          waiting = false;
          last = performance.now();
          if (!stopped) draw();
        }),
      Math.max(0, last + PACE - performance.now()),
    );
  };
  again.stop = () => {
    stopped = true;
  };
  return again;
}

// readTheme, but not for every picture.
export function themeOf(root) {
  let theme = null,
    read = 0;
  return () => {
    if (!theme || performance.now() - read > 500) {
      read = performance.now();
      const fresh = readTheme(root);
      if (fresh.key !== theme?.key) theme = fresh;
    }
    return theme;
  };
}

// Gives a canvas the resolution of the screen; returns its width in CSS pixels.
export function fitCanvas(canvas, pen, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(240, canvas.clientWidth);
  const wanted = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wanted[0] || canvas.height !== wanted[1]) {
    [canvas.width, canvas.height] = wanted;
    canvas.style.height = `${height}px`;
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return width;
}

export function write(pen, theme, words, x, y, color, align = "left", size = 11) {
  pen.font = `${size}px ${theme.font}`;
  pen.fillStyle = color;
  pen.textAlign = align;
  pen.textBaseline = "middle";
  pen.fillText(words, x, y);
}

// Seconds under everything; place: from seconds to x.
export function drawTimes(pen, theme, from, span, place, bottom) {
  const every = span > 10 ? 2 : 1;
  for (let s = Math.ceil(from / every) * every; s <= from + span; s += every) {
    pen.fillStyle = theme.line;
    pen.fillRect(Math.round(place(s)), bottom, 1, 4);
    const right = s > from + span - 0.3 * every;
    write(
      pen,
      theme,
      `${s} s`,
      place(s),
      bottom + 12,
      theme.soft,
      right ? "right" : s === 0 ? "left" : "center",
    );
  }
}

export function drawHertz(pen, theme, right, top, height) {
  for (const [hertz, words] of [
    [100, "100 Hz"],
    [1000, "1 kHz"],
    [10000, "10 kHz"],
  ]) {
    write(
      pen,
      theme,
      words,
      right,
      top + height * (1 - Math.log(hertz / LOWEST) / Math.log(HIGHEST / LOWEST)),
      theme.soft,
      "right",
      10,
    );
  }
}

// The part of a film that is in sight; it is a ring, so there may be two pieces of it.
export function drawFilm(pen, film, picture, from, span, place, top, height) {
  const perColumn = HOP / RATE,
    scale = place(1) - place(0);
  pen.imageSmoothingQuality = "high";
  const last = Math.min(picture.count, Math.ceil((from + span) / perColumn));
  let column = Math.max(0, Math.floor(from / perColumn), picture.count - COLUMNS);
  while (column < last) {
    const x = column % COLUMNS,
      count = Math.min(last - column, COLUMNS - x);
    pen.drawImage(
      film,
      x,
      0,
      count,
      ROWS,
      place((column - 0.5) * perColumn),
      top,
      count * perColumn * scale,
      height,
    );
    column += count;
  }
}
