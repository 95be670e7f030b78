"use strict";

// What is under the pointer in the picture of memory over time.
for (const svg of document.querySelectorAll("svg.memory")) {
  const points = JSON.parse(svg.dataset.points);
  const [left, right, upper, lower, seconds, top] = JSON.parse(svg.dataset.box);
  const readout = svg.querySelector(".readout");
  const [line, circle, text] = readout.children;
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const wanted = ((at - left) / (right - left)) * seconds;
    const nearer = (one, other) => (Math.abs(other[0] - wanted) < Math.abs(one[0] - wanted) ? other : one);
    const [time, memory, rows] = points.reduce(nearer);
    const x = left + ((right - left) * time) / seconds;
    const size = memory >= 1000 ? `${(memory / 1024).toFixed(2)} GB` : `${memory.toFixed(memory < 10 ? 1 : 0)} MB`;
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    circle.setAttribute("cx", x);
    circle.setAttribute("cy", lower - ((lower - upper) * memory) / top);
    const before = x > (left + right) / 2;
    text.setAttribute("x", before ? x - 8 : x + 8);
    text.setAttribute("text-anchor", before ? "end" : "start");
    text.textContent = `${time.toFixed(1)} s: ${size}, ${rows.toLocaleString("en")} rows`;
    readout.setAttribute("visibility", "visible");
  });
  svg.addEventListener("pointerleave", () => readout.setAttribute("visibility", "hidden"));
}

// The flamegraph: names under the pointer, a click makes a frame as wide as the page.
for (const flame of document.querySelectorAll(".flame")) {
  const total = Number(flame.dataset.total);
  const status = flame.querySelector(".flame-status span");
  const all = flame.querySelector("button");
  const hint = status.textContent;
  const frames = [...flame.querySelectorAll("b")].map((element) => {
    const [start, samples, depth] = element.dataset.at.split(",").map(Number);
    return { element, start, samples, depth };
  });
  const zoom = (to) => {
    const end = to.start + to.samples;
    for (const { element, start, samples, depth } of frames) {
      const within = start >= to.start && start + samples <= end && depth >= to.depth;
      const around = start <= to.start && start + samples >= end && depth < to.depth;
      element.hidden = !within && !around;
      element.classList.toggle("outer", around);
      element.style.left = around ? "0" : `${(100 * (start - to.start)) / to.samples}%`;
      element.style.width = around ? "100%" : `${(100 * samples) / to.samples}%`;
    }
    all.hidden = to.samples === total;
  };
  for (const frame of frames) {
    frame.element.addEventListener("click", () => zoom(frame));
    frame.element.addEventListener("pointerenter", () => (status.textContent = frame.element.title));
  }
  flame.addEventListener("pointerleave", () => (status.textContent = hint));
  all.addEventListener("click", () => zoom({ start: 0, samples: total, depth: 0 }));
}
