// What a reader would trip over: words that lie on each other, leave the page, or are too small to read.
const settle = setInterval(() => {
  const root = document.documentElement;
  if (!root.dataset.drawn) return;
  clearInterval(settle);
  const found = { small: [], outside: [], overlapping: [], pictures: {}, wide: root.scrollWidth > innerWidth };
  found.pale = document.querySelectorAll('#arms path[opacity="0.32"]').length;
  for (const chart of document.querySelectorAll(".chart")) {
    const svg = chart.querySelector("svg").getBoundingClientRect();
    found.pictures[chart.id] = [Math.round(svg.width), Math.round(svg.height)];
    const words = [...chart.querySelectorAll("text")].filter((t) => t.textContent.trim() && +getComputedStyle(t).opacity > 0);
    const boxes = words.map((t) => t.getBoundingClientRect());
    words.forEach((t, i) => {
      const a = boxes[i], where = `${chart.id}: ${t.textContent}`;
      if (parseFloat(getComputedStyle(t).fontSize) < 9) found.small.push(where);
      if (a.left < svg.left - 1 || a.right > svg.right + 1) found.outside.push(where);
      boxes.slice(i + 1).forEach((b, k) => {
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (across > 1 && down > 0.35 * Math.min(a.height, b.height)) found.overlapping.push(`${where} | ${words[i + 1 + k].textContent}`);
      });
    });
  }
  root.dataset.found = JSON.stringify(found);
}, 20);
