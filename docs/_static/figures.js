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

  function draw(forPaper = false) {
    for (const { box, text } of boxes) {
      const { data, layout } = JSON.parse(isDark() && !forPaper ? inDark(text) : text);
      if (touch) layout.dragmode = false;
      Plotly.react(box, data, layout, { responsive: true, displayModeBar: false, scrollZoom: false });
    }
  }

  draw();
  new MutationObserver(() => draw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  addEventListener("beforeprint", () => draw(true));
  addEventListener("afterprint", () => draw());
})();
