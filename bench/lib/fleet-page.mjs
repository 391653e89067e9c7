/** A page with plots of a fleet over time, made to be sent to somebody: one file, no script. */

const WIDTH = 960;
const HEIGHT = 200;
const LEFT = 56;
const BOTTOM = 24;
const STATE_COLOURS = { closed: "none", half_open: "#f2c14e55", open: "#d6455555" };

/** The page for what `simulateFollow` gave. */
export function fleetPage(result, { title, madeAt }) {
  const { points } = result;
  const facts = [
    ["jobs completed", `${result.done} of ${result.jobs}`],
    ["machines started", result.started],
    ["machines that failed", result.failed],
    ["most machines at once", result.machinesMax],
    ["jobs that a death interrupted", result.interrupted],
    ["longest wait for a start", `${result.maxWaitMinutes.toFixed(1)} min`],
    ["machine hours", result.dollars.toFixed(0)],
    ["machines left behind", result.leftBehind],
  ];
  const plots = [
    plot("Machines", points, [
      { label: "paid for", colour: "#2f6f8f", of: (one) => one.living },
      { label: "working", colour: "#3a9d5d", of: (one) => one.working },
    ]),
    plot("Jobs that wait", points, [
      { label: "queued", colour: "#a05195", of: (one) => one.queued },
    ]),
    plot("Failure rate, and the breaker (yellow: half-open, red: open)", points, [
      { label: "rate", colour: "#b3541e", of: (one) => one.rate },
    ]),
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1.5rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; font-size: 11px; }
svg text { fill: currentColor; } svg .grid { stroke: currentColor; opacity: .18; }
</style></head><body>
<h1>${title}</h1><p>${madeAt}. Simulated on the fleet's own decisions; the cloud is made up.</p>
<dl>${facts.map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join("")}</dl>
${plots.join("\n")}
</body></html>
`;
}

function plot(title, points, series) {
  const last = points.at(-1)?.minute ?? 1;
  const top = niceTop(Math.max(...series.flatMap(({ of }) => points.map(of)), 0));
  const x = (minute) => LEFT + (minute / last) * (WIDTH - LEFT - 8);
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - 10);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => share * top);
  const hours = Array.from({ length: Math.floor(last / 60) + 1 }, (_, hour) => hour);
  const path = ({ of, colour }) =>
    `<polyline fill="none" stroke="${colour}" stroke-width="1.5" points="${points
      .map((one) => `${x(one.minute).toFixed(1)},${y(of(one)).toFixed(1)}`)
      .join(" ")}"/>`;
  const legend = series.map(
    ({ label, colour }, at) =>
      `<text x="${LEFT + 8 + at * 110}" y="12"><tspan fill="${colour}">■</tspan> ${label}</text>`,
  );
  return `<h2>${title}</h2><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}">
${bands(points, x)}
${ticks.map((value) => `<line class="grid" x1="${LEFT}" x2="${WIDTH - 8}" y1="${y(value)}" y2="${y(value)}"/><text x="${LEFT - 6}" y="${y(value) + 4}" text-anchor="end">${shown(value)}</text>`).join("")}
${hours.map((hour) => `<text x="${x(hour * 60)}" y="${HEIGHT - 6}" text-anchor="middle">${hour} h</text>`).join("")}
${series.map(path).join("")}${legend.join("")}</svg>`;
}

function bands(points, x) {
  return points
    .map(({ minute, state }) => {
      const colour = STATE_COLOURS[state];
      if (colour === undefined || colour === "none") return "";
      return `<rect x="${x(minute).toFixed(1)}" y="10" width="${(x(1) - x(0) + 0.5).toFixed(1)}" height="${HEIGHT - BOTTOM - 10}" fill="${colour}"/>`;
    })
    .join("");
}

function niceTop(value) {
  if (value <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((top) => top >= value) ?? value;
}

function shown(value) {
  return Number.isInteger(value) ? String(value) : value.toFixed(2);
}
