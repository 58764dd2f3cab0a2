"""Figures and widgets: the only place that imports matplotlib and ipywidgets."""
