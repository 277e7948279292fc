"""How well demand is foreseen, on two weeks of real traffic."""
