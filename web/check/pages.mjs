// Every page in both themes, narrow and wide: no complaint, no serious finding of axe, no scrolling sideways; a screenshot of each.
//   node pages.mjs NAME BASE-URL CITY OUT-DIRECTORY [few]      few: each theme and each size once, not every pair
import { axe, launch, open, settled, sidewaysOf } from "./browser.mjs";

const [name, base, city, out, few] = process.argv.slice(2);
const PAGES = ["now", "discord", `city/${city}`, "libraries", `media/${city}`, `rtp/${city}`, `path/${city}`, "workers", `data/${city}`];
const SIZES = { wide: { width: 1440, height: 900 }, narrow: { width: 390, height: 844 } };
const range = process.env.RANGE ?? "range=6h";

const browser = await launch();
let bad = 0;
try {
  for (const theme of ["light", "dark"]) {
    for (const [size, viewport] of Object.entries(SIZES)) {
      if (few && (theme === "light") !== (size === "wide")) continue;
      const { context, page, complaints } = await open(browser, base, { viewport, colorScheme: theme });
      for (const place of PAGES) {
        await page.goto(`${base}/#/${place}?${range}`);
        await settled(page);
        const found = [...complaints.splice(0), ...(await axe(page))];
        const sideways = await sidewaysOf(page);
        if (sideways > 0) found.push(`scrolls sideways by ${sideways} px`);
        await page.screenshot({ path: `${out}/${name}-${place.split("/")[0]}-${theme}-${size}.png`, fullPage: true });
        for (const line of found) console.log(`${name} ${place} ${theme} ${size}: ${line}`);
        bad += found.length;
      }
      await context.close();
    }
  }
} finally {
  await browser.close();
}
console.log(`${name}: ${PAGES.length} pages, both themes, narrow and wide: ${bad} complaints`);
process.exit(bad > 0 ? 1 : 0);
