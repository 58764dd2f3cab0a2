// Loaded between require.js and the widget manager (see nb_ipywidgets_js in _config.yml).
(function () {
  "use strict";

  // The manager derives the address of its icon font from its module name; say where that module lies.
  var folder = document.currentScript.src.replace(/[^/]*$/, "vendor");
  window.requirejs.config({ paths: { "@jupyter-widgets/html-manager/dist": folder } });

  // It typesets labels through MathJax 2's queue. The book has MathJax 3: pass the element on.
  document.addEventListener("DOMContentLoaded", function () {
    var mathjax = window.MathJax;
    if (mathjax && mathjax.startup && !mathjax.Hub) {
      mathjax.Hub = {
        Queue: function (command) {
          mathjax.startup.promise.then(function () { return mathjax.typesetPromise([command[2]]); });
        },
      };
    }
  });
})();
