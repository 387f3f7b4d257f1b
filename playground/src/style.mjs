// How the element looks before it is live, and how its controls do. Colours and faces are the book theme's own properties,
// which cross into a shadow tree, so light and dark follow the page.

export const STYLE = `
:host { display: block; container-type: inline-size; font-family: var(--frame, system-ui, sans-serif); font-size: 0.94rem; line-height: 1.5; color: var(--pst-color-text-base); }
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
.card { background: var(--pst-color-surface); border: 1px solid var(--pst-color-border); border-radius: 14px; padding: clamp(1rem, 4cqi, 1.6rem); }
header { margin-bottom: 1rem; }
p { margin: 0; }
.note { color: var(--pst-color-text-muted); text-wrap: pretty; }
.note { font-size: 0.86rem; }

button, select, input { font: inherit; color: inherit; }
button { min-height: 44px; min-width: 44px; padding: 0 1.1rem; border-radius: 9px; border: 1px solid var(--pst-color-border); background: var(--pst-color-background); cursor: pointer; font-weight: 560; transition: background-color 0.15s, border-color 0.15s; }
button:hover { border-color: var(--pst-color-text-muted); }
button.main { background: var(--pst-color-primary); border-color: var(--pst-color-primary); color: var(--pst-color-background); font-weight: 620; }
button.main:hover { background: var(--pst-color-heading); border-color: var(--pst-color-heading); }
:is(button, select, input, summary):focus-visible { outline: 3px solid var(--pst-color-primary); outline-offset: 2px; border-radius: 9px; }
.field :is(input, select):focus-visible { outline-offset: 0; }
input[type="range"]:focus-visible { outline: none; } /* the ring is the thumb's: the whole control reaches under its label */
input[type="range"]:focus-visible::-webkit-slider-thumb { outline: 3px solid var(--pst-color-primary); outline-offset: 2px; }
input[type="range"]:focus-visible::-moz-range-thumb { outline: 3px solid var(--pst-color-primary); outline-offset: 2px; }
button:disabled { opacity: 0.5; cursor: default; }

.offer { display: flex; flex-wrap: wrap; gap: 0.6rem 1rem; align-items: center; margin-top: 1.1rem; }
.offer .note { flex: 1 1 14rem; }
.trouble { margin-top: 1.1rem; padding: 0.7rem 0.9rem; border-radius: 9px; border: 1px solid var(--pst-color-border); border-left: 4px solid var(--accent); background: var(--pst-color-background); }
.download { flex: 1 1 14rem; }
progress { appearance: none; display: block; width: 100%; height: 6px; border: 0; border-radius: 3px; overflow: hidden; background: var(--pst-color-border); }
progress::-webkit-progress-bar { background: var(--pst-color-border); }
progress::-webkit-progress-value { background: var(--accent); transition: width 0.12s linear; }
progress::-moz-progress-bar { background: var(--accent); }
.download .note { display: flex; justify-content: space-between; margin-top: 0.35rem; font-variant-numeric: tabular-nums; }

.live { display: grid; gap: 1.3rem 1.8rem; }
@container (min-width: 36rem) { .live.beside { grid-template-columns: minmax(15rem, 0.95fr) 1fr; align-items: start; } .live.beside > .top { grid-column: 1 / -1; } .live.beside.wide { grid-template-columns: minmax(15rem, 1.25fr) 1fr; } }
.fields { display: grid; gap: 0.7rem 1.4rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 13.5rem), 1fr)); align-items: start; margin: 0; padding: 0; border: 0; min-width: 0; }
.field { display: grid; grid-template-columns: 1fr auto; align-items: baseline; gap: 0.35rem 0.8rem; min-width: 0; }
.field.wide, .field.wide > .field { grid-column: 1 / -1; }
.top .field:only-child { grid-column: 1 / -1; }
.field label { font-weight: 560; font-size: 0.86rem; }
.field output { font-variant-numeric: tabular-nums; font-weight: 620; color: var(--pst-color-heading); }
.field :is(input[type="text"], input[type="number"], select) { grid-column: 1 / -1; width: 100%; min-height: 44px; padding: 0 0.75rem; border: 1px solid var(--pst-color-border); border-radius: 9px; background-color: var(--pst-color-background); }
.field :is(input, select):disabled { opacity: 0.45; }
.field select { appearance: none; padding-right: 2rem; text-overflow: ellipsis; background-image: linear-gradient(45deg, transparent 50%, currentColor 50%), linear-gradient(135deg, currentColor 50%, transparent 50%); background-position: right 1.05rem center, right 0.75rem center; background-size: 0.3rem 0.3rem; background-repeat: no-repeat; }
input[type="range"] { grid-column: 1 / -1; appearance: none; width: 100%; height: 44px; margin: -0.65rem 0 -0.4rem; background: transparent; cursor: pointer; }
input[type="range"]::-webkit-slider-runnable-track { height: 5px; border-radius: 3px; background: linear-gradient(to right, var(--accent) var(--share, 0%), var(--pst-color-border) var(--share, 0%)); }
input[type="range"]::-webkit-slider-thumb { appearance: none; width: 22px; height: 22px; margin-top: -8.5px; border-radius: 50%; background: var(--pst-color-background); border: 2px solid var(--accent); box-shadow: 0 1px 3px rgb(0 0 0 / 0.18); }
input[type="range"]::-moz-range-track { height: 5px; border-radius: 3px; background: var(--pst-color-border); }
input[type="range"]::-moz-range-progress { height: 5px; border-radius: 3px; background: var(--accent); }
input[type="range"]::-moz-range-thumb { width: 18px; height: 18px; border-radius: 50%; background: var(--pst-color-background); border: 2px solid var(--accent); }
.field .seed { grid-column: 1 / -1; display: flex; gap: 0.5rem; }
.field .seed input { flex: 1; min-width: 0; }

summary { min-height: 44px; display: inline-flex; align-items: center; cursor: pointer; font-weight: 560; font-size: 0.86rem; color: var(--pst-color-link); list-style: none; }
summary::-webkit-details-marker { display: none; }
summary::before { content: ""; width: 0.42rem; height: 0.42rem; margin-right: 0.6rem; border: solid currentColor; border-width: 0 2px 2px 0; transform: rotate(-45deg); transition: transform 0.15s; }
details.field { display: block; }
details[open] > summary::before { transform: rotate(45deg); }
details > .fields { padding-top: 0.3rem; }

.card > slot[name="kept"] { display: block; margin-bottom: 1.2rem; }
.stage { min-width: 0; display: grid; gap: 1.2rem; }
@container (max-width: 30rem) { .live { gap: 0.9rem; } }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

@media (prefers-reduced-motion: reduce) { * { transition: none !important; } }
@media (forced-colors: active) { button, .card, input, select { border: 1px solid; } }
`;
