"use strict";
// What is drawn on canvases: points over the picture, bands of colours and curves over time.

function drawPoints() {
  const image = $("picture"), canvas = $("over"), ratio = window.devicePixelRatio || 1;
  const width = image.clientWidth, height = image.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  if (!detail || !image.naturalWidth) return;
  const scale = Math.min(width / image.naturalWidth, height / image.naturalHeight); // the image lies in the middle of its box
  const w = image.naturalWidth * scale, h = image.naturalHeight * scale, left = (width - w) / 2, top = (height - h) / 2;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  for (const set of detail.points) (set.places[step] || []).forEach((point, i) => {
    if (!point) return;
    const [x, y] = [left + point[0] * w, top + point[1] * h];
    const path = new Path2D();
    if (set.name === "predicted") {
      path.moveTo(x - 5, y - 5); path.lineTo(x + 5, y + 5); path.moveTo(x - 5, y + 5); path.lineTo(x + 5, y - 5);
    } else path.arc(x, y, 4.5, 0, 2 * Math.PI);
    pen.lineWidth = 4;
    pen.strokeStyle = "#000a";
    pen.stroke(path);
    pen.lineWidth = 2;
    pen.strokeStyle = set.name === "predicted" || !point[2] ? set.colours[i] : "#fff";
    pen.fillStyle = set.colours[i];
    if (set.name !== "predicted" && point[2]) pen.fill(path);
    pen.stroke(path);
  });
}

function band(words, height, draw) {
  const box = make("div", "", "band"), canvas = make("canvas");
  canvas.style.height = `${height}px`;
  canvas.draw = draw;
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.onpointermove = pick;
    pick(event);
  };
  canvas.onpointerup = () => { canvas.onpointermove = null; };
  const pick = (event) => {
    const box = canvas.getBoundingClientRect();
    go(Math.floor(((event.clientX - box.left) / box.width) * detail.steps));
  };
  box.append(make("p", words), canvas);
  return box;
}

function drawBands() {
  const ratio = window.devicePixelRatio || 1;
  for (const canvas of document.querySelectorAll(".band canvas")) {
    const width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    canvas.draw(pen, width, height);
    const x = ((step + 0.5) / detail.steps) * width;
    pen.fillStyle = "#fff";
    pen.fillRect(x - 2, 0, 4, height);
    pen.fillStyle = "#000";
    pen.fillRect(x - 1, 0, 2, height);
  }
}

function drawStrip(pen, width, height, strip) {
  pen.fillStyle = "#c9c9c9";
  pen.fillRect(0, 0, width, height);
  const one = width / detail.steps;
  for (let from = 0; from < strip.values.length; ) {
    let to = from;
    while (to < strip.values.length && strip.values[to] === strip.values[from]) to++;
    if (strip.values[from] >= 0) {
      pen.fillStyle = strip.colours[strip.values[from]];
      pen.fillRect(from * one, 0, (to - from) * one + 0.5, height);
    }
    from = to;
  }
}

function drawCurves(pen, width, height, curves) {
  const known = curves.flatMap((curve) => curve.values.filter((value) => value !== null));
  const low = Math.min(0, ...known), high = Math.max(1, ...known);
  const y = (value) => height - 8 - ((value - low) / (high - low)) * (height - 16);
  pen.fillStyle = "#8881";
  pen.fillRect(0, 0, width, height);
  for (const curve of curves) {
    pen.strokeStyle = curve.colour;
    pen.lineWidth = 2;
    pen.beginPath();
    let begun = false;
    curve.values.forEach((value, i) => {
      const x = ((i + 0.5) / detail.steps) * width;
      if (value === null) begun = false;
      else if (begun) pen.lineTo(x, y(value));
      else { pen.moveTo(x, y(value)); begun = true; }
    });
    pen.stroke();
  }
  const style = getComputedStyle(document.documentElement);
  pen.font = "11px system-ui, sans-serif";
  for (const [words, line] of [[high.toFixed(high > 2 ? 0 : 1), 12], [low.toFixed(0), height - 3]]) {
    pen.fillStyle = style.getPropertyValue("--paper");
    pen.fillRect(0, line - 10, pen.measureText(words).width + 6, 13);
    pen.fillStyle = style.getPropertyValue("--soft");
    pen.fillText(words, 3, line);
  }
}
