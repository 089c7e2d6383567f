// Draws the figures that stand in a page as JSON, in the colours of the reader's theme.
(() => {
  const boxes = [...document.querySelectorAll(".plotly-figure")].map((box) => ({
    box,
    text: box.querySelector("script").textContent,
  }));
  // On a touch screen a finger that moves over a figure scrolls the page; elsewhere dragging zooms.
  const touch = matchMedia("(pointer: coarse)").matches;
  const isDark = () => document.documentElement.dataset.theme === "dark";
  const inDark = (text) =>
    Object.entries(window.figureTwins).reduce((changed, [light, dark]) => changed.replaceAll(light, dark), text);

  // The key of a panel continues on a second line where a phone is too narrow for it.
  function wrapKeys(layout, width) {
    for (const annotation of layout.annotations ?? []) {
      const parts = (annotation.text ?? "").split(/  (?=<span|\u25c6)/);
      const lines = [parts.shift()];
      const widthOf = (text) => 7 * text.replace(/<[^>]*>/g, "").length; // pixels, at the font size of a key
      for (const part of parts) {
        const longer = `${lines.at(-1)}  ${part}`;
        if (widthOf(longer) > width - 12) lines.push(part);
        else lines[lines.length - 1] = longer;
      }
      annotation.text = lines.join("<br>");
      if (annotation.y === 1 && lines.length > 1) layout.margin = { ...layout.margin, t: 30 + 16 * (lines.length - 1) };
    }
  }

  function draw(forPaper = false) {
    for (const { box, text } of boxes) {
      const { data, layout } = JSON.parse(isDark() && !forPaper ? inDark(text) : text);
      if (touch) layout.dragmode = false;
      if (box.clientWidth < 600) wrapKeys(layout, box.clientWidth);
      Plotly.react(box, data, layout, { responsive: true, displayModeBar: false, scrollZoom: false });
    }
  }

  draw();
  new MutationObserver(() => draw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  addEventListener("beforeprint", () => draw(true));
  addEventListener("afterprint", () => draw());
})();
