// Draws the figures that stand in the page as JSON, in the colours of the reader's theme.
(() => {
  const twins = JSON.parse(document.getElementById("twins").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 640px)");
  // On a touch screen a finger that moves over a figure scrolls the page; elsewhere dragging zooms.
  const touch = matchMedia("(pointer: coarse)").matches;
  const figures = [...document.querySelectorAll(".figure")].map((box) => ({
    box,
    text: box.querySelector("script").textContent,
  }));

  const inDark = (text) =>
    Object.entries(twins).reduce((changed, [light, twin]) => changed.replaceAll(light, twin), text);

  function draw(forPaper) {
    for (const { box, text } of figures) {
      const { data, layout } = JSON.parse(dark.matches && !forPaper ? inDark(text) : text);
      if (touch) layout.dragmode = false;
      Plotly.react(box, data, layout, { responsive: true, displayModeBar: false, scrollZoom: false });
    }
  }

  draw(false);
  dark.addEventListener("change", () => draw(false));
  narrow.addEventListener("change", () => draw(false));
  addEventListener("beforeprint", () => draw(true));
  addEventListener("afterprint", () => draw(false));
})();
