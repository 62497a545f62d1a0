// Draws the figures of a report with plotly as they come into view; the static pictures stay for print.
(function () {
  "use strict";
  const specs = JSON.parse(document.getElementById("theodolite-figures").textContent);
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  function draw(figure) {
    const spec = specs[Number(figure.dataset.figure)];
    const plot = document.createElement("div");
    plot.className = "plot";
    figure.insertBefore(plot, figure.firstChild);
    figure.classList.add("live");
    window.Plotly.newPlot(plot, spec.data, spec.layout, config).catch(function () {
      plot.remove();
      figure.classList.remove("live");
    });
  }
  const seen = new IntersectionObserver(function (entries) {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        seen.unobserve(entry.target);
        draw(entry.target);
      }
    }
  }, { rootMargin: "600px" });
  document.querySelectorAll("figure[data-figure]").forEach(function (figure) { seen.observe(figure); });
  // A link to a method opens it.
  function open() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
  }
  window.addEventListener("hashchange", open);
  open();
})();
