// A classic script, so that it also runs where modules don't: says in one sentence what is missing, else starts the page.
(function () {
  "use strict";
  // An empty function with a SIMD instruction: browsers since 2021 (2023: Safari 16.4) accept it.
  var SIMD = new Uint8Array([
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
  ]);

  function problem() {
    if (location.protocol === "file:") {
      return "Browsers do not run this page from a file. Serve the folder of the book and open it from there: <code>python -m http.server --directory _build/html</code>";
    }
    if (typeof WebAssembly !== "object" || !WebAssembly.validate(SIMD)) {
      return "This page needs WebAssembly with SIMD, which this browser lacks or has switched off; a browser from 2023 or later has it.";
    }
    if (typeof Worker !== "function" || typeof DecompressionStream !== "function") {
      return "This page needs a browser from 2023 or later.";
    }
    return null;
  }

  var script = document.currentScript;
  document.addEventListener("DOMContentLoaded", function () {
    var root = document.querySelector(".lab");
    var found = problem();
    if (found && root.hasAttribute("data-quiet")) return; // what is shown without the program says enough
    if (found) {
      root.innerHTML = '<p class="lab-notice" role="alert">' + found + "</p>";
      return;
    }
    import(new URL(root.dataset.page + ".mjs", script.src).href).then(
      function (page) { return page.start(root); }
    ).catch(function (error) {
      if (root.hasAttribute("data-quiet")) {
        console.error(error);
        return;
      }
      root.innerHTML = '<p class="lab-notice" role="alert">The page could not be started (' + String(error.message).replace(/</g, "&lt;") + "); please load it again.</p>";
    });
  });
})();
