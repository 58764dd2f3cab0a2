// Names for what the theme and the widgets leave nameless to a screen reader.
(function () {
  "use strict";

  // A slider's handle gets the text of its label.
  function nameSliders() {
    document.querySelectorAll(".widget-slider").forEach(function (widget) {
      var label = widget.querySelector(".widget-label");
      var handle = widget.querySelector(".noUi-handle");
      if (label && handle && !handle.hasAttribute("aria-label")) {
        handle.setAttribute("aria-label", label.textContent || "slider");
      }
    });
  }

  // Wide tables and code scroll sideways on a phone; the keyboard must be able to reach them.
  function focusScrollers() {
    document.querySelectorAll("div.highlight > pre, .pst-scrollable-table-container, .math-wrapper").forEach(function (box) {
      if (box.scrollWidth > box.clientWidth && !box.hasAttribute("tabindex")) {
        box.setAttribute("tabindex", "0");
      }
    });
  }

  document.addEventListener("DOMContentLoaded", function () {
    focusScrollers();
    nameSliders();
    new MutationObserver(nameSliders).observe(document.body, { childList: true, subtree: true });
  });
})();
