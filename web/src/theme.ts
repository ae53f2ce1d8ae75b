// Light, dark, or as the system has it; charts are drawn anew when it changes, for their colours are pixels.
import { useEffect, useState } from "preact/hooks";

export type Theme = "auto" | "light" | "dark";
const KEY = "netlat-theme";

export function storedTheme(): Theme {
  const stored = localStorage.getItem(KEY);
  return stored === "light" || stored === "dark" ? stored : "auto";
}

export function applyTheme(theme: Theme): void {
  if (theme === "auto") {
    localStorage.removeItem(KEY);
    delete document.documentElement.dataset["theme"];
  } else {
    localStorage.setItem(KEY, theme);
    document.documentElement.dataset["theme"] = theme;
  }
  dispatchEvent(new Event("netlat-theme"));
}

export const colour = (name: string) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// Okabe and Ito's colours, which stay apart for the colour-blind; each line has a dash of its own as well.
export const LINES = ["line0", "line1", "line2", "line3", "line4", "line5", "line6", "line7"];
export const DASHES: number[][] = [[], [6, 3], [2, 2], [9, 3, 2, 3], [12, 4], [4, 2, 2, 2], [1, 3], [8, 2, 2, 2, 2, 2]];

// A number that changes with the theme, for whoever draws.
export function useThemeCount(): number {
  const [count, set] = useState(0);
  useEffect(() => {
    const changed = () => set((n) => n + 1);
    const system = matchMedia("(prefers-color-scheme: dark)");
    addEventListener("netlat-theme", changed);
    system.addEventListener("change", changed);
    return () => {
      removeEventListener("netlat-theme", changed);
      system.removeEventListener("change", changed);
    };
  }, []);
  return count;
}
