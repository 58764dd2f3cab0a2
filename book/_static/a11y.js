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
    document.querySelectorAll("div.highlight > pre, .pst-scrollable-table-container, .math-wrapper, figure").forEach(function (box) {
      if (box.scrollWidth > box.clientWidth && box.getAttribute("tabindex") !== "0") {
        box.setAttribute("tabindex", "0");
      }
    });
  }

  // Names of the theme's buttons hold what is written on them; its icons say nothing; the logo lies in a landmark.
  function nameTheme() {
    document.querySelectorAll(".search-button-field, summary[aria-label]").forEach(function (button) { button.removeAttribute("aria-label"); });
    document.querySelectorAll(".theme-switch-button i").forEach(function (icon) {
      icon.removeAttribute("title");
      icon.setAttribute("aria-hidden", "true");
    });
    document.querySelectorAll(".theme-switch-button svg:not([aria-hidden='true'])").forEach(function (icon) {
      icon.querySelectorAll("title").forEach(function (title) { title.remove(); });
      icon.removeAttribute("aria-labelledby");
      icon.removeAttribute("role");
      icon.setAttribute("aria-hidden", "true");
    });
    document.querySelectorAll(".sidebar-primary-item:has(> .navbar-brand)").forEach(function (box) {
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", "Title of the book");
    });
  }

  // docutils gives references roles that ARIA has withdrawn.
  function plainReferences() {
    document.querySelectorAll(".citation-list, .citation-list .citation").forEach(function (box) { box.removeAttribute("role"); });
  }

  document.addEventListener("DOMContentLoaded", function () {
    focusScrollers();
    nameTheme();
    plainReferences();
    nameSliders();
    window.addEventListener("resize", focusScrollers);
    new MutationObserver(function () {
      nameSliders();
      nameTheme(); // icons become drawings at some time
    }).observe(document.body, { childList: true, subtree: true });
  });
})();
