"""The charts of the report page: functions that return SVG as text, coloured by its style sheet."""

from liftnet.visual.charts_bars import Bar, Category, bars
from liftnet.visual.charts_distribution import Group, distribution
from liftnet.visual.charts_forest import Row, forest
from liftnet.visual.charts_profile import Line, profile

__all__ = ["Bar", "Category", "Group", "Line", "Row", "bars", "distribution", "forest", "profile"]
