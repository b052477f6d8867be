"""Figures against peers, as ratios within one run; never a pass or fail of a build."""
