"""`make demo`: the main job told as three stories on a real cluster, with real models and real traffic."""
