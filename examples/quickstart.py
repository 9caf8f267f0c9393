# /// script
# requires-python = ">=3.9"
# dependencies = ["pandas", "matplotlib"]
# ///
# A first look at husk: `husk run examples/quickstart.py`.
# Each `# %%` begins a cell. State stays from cell to cell: all run in one kernel.

# %% load data
import pandas as pd

penguins = pd.read_csv("data/penguins.csv")
print(f"{len(penguins)} penguins of {penguins['species'].nunique()} species")
penguins.head(3)

# %% the frame is still there
means = penguins.groupby("species")[["flipper_length_mm", "body_mass_g"]].mean().round(1)
means

# %% a plot, saved beside this file
import matplotlib.pyplot as plt

for species, group in penguins.groupby("species"):
    plt.scatter(group["flipper_length_mm"], group["body_mass_g"], s=14, label=species)
plt.xlabel("flipper length (mm)")
plt.ylabel("body mass (g)")
plt.legend()
plt.show()

# %% the last word
heaviest = means["body_mass_g"].idxmax()
f"The heaviest species is {heaviest}."
