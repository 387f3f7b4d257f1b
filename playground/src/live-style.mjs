// How the live part looks: texts and words, pictures and the way to them. Fetched with it.

export const STYLE = `
.field .typed { grid-column: 1 / -1; display: flex; gap: 0.5rem; }
.field .typed input { flex: 1; min-width: 0; }
.check { display: flex; align-items: center; gap: 0.6rem; min-height: 44px; }
.check input { width: 20px; height: 20px; accent-color: var(--accent); }
.field.check label { font-weight: 460; flex: 1; padding: 0.6rem 0; }
.wrong { grid-column: 1 / -1; color: var(--pst-color-secondary); font-size: 0.88rem; }
.wrong button, .chips button { min-height: 44px; padding: 0 0.15rem; border: 0; background: none; font-weight: 460; }
[aria-invalid="true"] { border-color: var(--accent) !important; }
.words { grid-column: 1 / -1; display: grid; gap: 0 1.4rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); }
.chips { border: 0; padding: 0; margin: 0; min-width: 0; display: grid; grid-template-columns: 4.2rem 1fr; align-items: start; }
.chips legend { float: left; padding: 0; line-height: 44px; font-size: 0.82rem; color: var(--pst-color-text-muted); }
.chips legend + div { display: flex; flex-wrap: wrap; }
.chips span, .wrong span { display: inline-flex; align-items: center; min-height: 30px; padding: 0 0.6rem; border-radius: 15px; border: 1px solid transparent; font-size: 0.86rem; }
:is(.chips, .wrong) button:hover span { border-color: var(--pst-color-border); background: var(--pst-color-background); }
.chips button[aria-pressed="true"] span { background: var(--pst-color-primary); color: var(--pst-color-background); font-weight: 560; }
.wrong span { border-color: var(--pst-color-border); background: var(--pst-color-background); color: var(--pst-color-text-base); }
.sentence { grid-column: 1 / -1; font: 500 clamp(1.12rem, 3.3cqi, 1.3rem)/2.5 var(--pst-font-family-base, serif); color: var(--pst-color-text-muted); }
.sentence .word { white-space: nowrap; }
.sentence select { appearance: none; field-sizing: content; min-height: 44px; width: auto; padding: 0 0.35rem; border: 0; border-bottom: 2px solid var(--accent); border-radius: 0; background: none; color: var(--pst-color-heading); font-weight: 620; cursor: pointer; text-align: center; }
.sentence select:hover { background: var(--pst-color-background); }
.sentence select option { background: var(--pst-color-background); color: var(--pst-color-text-base); }
.group > .name { font-weight: 600; font-size: 0.86rem; margin-bottom: 0.45rem; font-variant-numeric: tabular-nums; }
.row { display: grid; gap: 0 clamp(0.5rem, 1.8cqi, 1rem); grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); }
figure { margin: 0; min-width: 0; display: grid; grid-row: span 3; grid-template-rows: subgrid; align-content: start; }
.pictures { display: grid; gap: 6px; grid-template-columns: repeat(var(--across, 1), minmax(0, 1fr)); }
.pictures canvas { display: block; width: 100%; aspect-ratio: 1; border-radius: 8px; background: color-mix(in srgb, var(--pst-color-border) 45%, transparent); }
figure.stale :is(.pictures, .strip) { opacity: 0.35; }
figcaption:first-child { margin: 0 0 0.45rem; align-self: end; }
figcaption { margin-top: 0.45rem; font-size: 0.86rem; line-height: 1.4; }
figcaption b, figcaption .what { display: block; }
figcaption b { font-weight: 600; }
figcaption .state { color: var(--pst-color-text-muted); font-variant-numeric: tabular-nums; }
.strip { display: grid; gap: 3px; margin-top: 0.6rem; }
.strip .line { display: grid; gap: 3px; grid-template-columns: repeat(var(--steps, 6), minmax(0, 1fr)); }
.strip.gone { visibility: hidden; }
.strip canvas { display: block; width: 100%; aspect-ratio: 1; border-radius: 4px; }
.strip span { white-space: nowrap; font-size: 0.72rem; color: var(--pst-color-text-muted); text-align: center; font-variant-numeric: tabular-nums; }
.strip .name { text-align: left; white-space: normal; line-height: 1.3; }
@container (max-width: 30rem) {
  .row[style*="--columns: 4"] { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .row[style*="--columns: 4"] > figure { padding-bottom: 0.7rem; }
  .row[style*="--columns: 3"] .pictures { grid-template-columns: minmax(0, 1fr); }
  .row[style*="--columns: 2"] .strip .line { grid-template-columns: repeat(3, minmax(0, 1fr)); }
  .row[style*="--columns: 2"] .between { display: none; }
}
@container (max-width: 30rem) { .strip span { font-size: 0.66rem; } }
.bar { display: grid; grid-template-columns: 1fr auto; gap: 0.2rem 1rem; align-content: center; align-items: center; min-height: 46px; }
.fields + .bar { margin-top: 0.6rem; }
.bar .note { grid-column: 1; font-variant-numeric: tabular-nums; }
.bar progress { grid-column: 1; }
.bar button { grid-column: 2; grid-row: 1 / span 2; }
`;
