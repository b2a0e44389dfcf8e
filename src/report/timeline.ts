import { paint } from './table.ts'

/** One bar of a track. */
interface TimelineSpan {
  readonly fromSeconds: number
  readonly toSeconds: number
  /** Work and transfers are drawn solid, loading is drawn faint. */
  readonly kind: 'work' | 'transfer' | 'load'
}

/** One track of a timeline. */
export interface TimelineLane {
  readonly name: string
  readonly colour: 'cyan' | 'yellow' | 'green' | 'magenta'
  readonly spans: readonly TimelineSpan[]
}

/** Layout of a timeline. */
interface TimelineStyle {
  readonly colour: boolean
  /** Width in characters, including track names. */
  readonly columns: number
}

type Kind = TimelineSpan['kind']

const GLYPHS: Readonly<Record<Kind, string>> = { work: '█', transfer: '━', load: '░' }
const IDLE = '·'
/** Which kind a cell shows if several kinds fall into it: the first. */
const PRECEDENCE: readonly Kind[] = ['work', 'transfer', 'load']
const MIN_CELLS = 10

/**
 * Renders tracks over one interval of time, one line each, with a scale in milliseconds below. A span fills every cell
 * that it touches and is clipped to the interval. No trailing newline.
 */
export function renderTimeline(
  lanes: readonly TimelineLane[],
  [fromSeconds, toSeconds]: readonly [number, number],
  style: TimelineStyle,
): string {
  const label = Math.max(...lanes.map(({ name }) => name.length))
  const cells = Math.max(MIN_CELLS, style.columns - label - 2)
  const seconds = Math.max(toSeconds - fromSeconds, Number.EPSILON)
  const lines = lanes.map((lane) => {
    const row = cellsOf(lane.spans, fromSeconds, seconds, cells)
    return `${lane.name.padStart(label)}  ${paintRow(row, lane.colour, style)}`
  })
  return [...lines, `${' '.repeat(label)}  ${paint(scale(seconds, cells), 'dim', style)}`].join('\n')
}

/** The meaning of each kind of cell, in one line. */
export function timelineLegend(): string {
  return `${GLYPHS.work} computes   ${GLYPHS.transfer} on its way   ${GLYPHS.load} loads weights`
}

function cellsOf(
  spans: readonly TimelineSpan[],
  fromSeconds: number,
  seconds: number,
  cells: number,
): (Kind | null)[] {
  const row = new Array<Kind | null>(cells).fill(null)
  for (const span of spans) {
    const first = (cells * (span.fromSeconds - fromSeconds)) / seconds
    const end = (cells * (span.toSeconds - fromSeconds)) / seconds
    if (end < 0 || first >= cells) continue
    const from = Math.max(0, Math.floor(first))
    const to = Math.min(cells, Math.max(from + 1, Math.ceil(end)))
    for (let cell = from; cell < to; cell++) {
      const there = row[cell]
      if (there === null || PRECEDENCE.indexOf(span.kind) < PRECEDENCE.indexOf(there)) row[cell] = span.kind
    }
  }
  return row
}

function paintRow(
  row: readonly (Kind | null)[],
  colour: TimelineLane['colour'],
  style: TimelineStyle,
): string {
  let text = ''
  for (let from = 0; from < row.length;) {
    let to = from
    while (to < row.length && row[to] === row[from]) to++
    const kind = row[from]
    const glyphs = (kind === null ? IDLE : GLYPHS[kind]).repeat(to - from)
    text += paint(glyphs, kind === null || kind === 'load' ? 'dim' : colour, style)
    from = to
  }
  return text
}

/** Ticks at round numbers of milliseconds, as many as fit. */
function scale(seconds: number, cells: number): string {
  const step = roundStep((1e3 * seconds) / Math.max(1, Math.floor(cells / 12)))
  const line = new Array<string>(cells).fill(' ')
  for (let tick = 0; ; tick++) {
    const text = `${tick === 0 ? '' : '|'}${Number((tick * step).toPrecision(12))}${tick === 0 ? ' ms' : ''}`
    // The 1e-6 keeps rounding from placing a tick one cell too early.
    const at = Math.floor((cells * tick * step) / (1e3 * seconds) + 1e-6)
    if (at + text.length > cells) break
    for (let i = 0; i < text.length; i++) line[at + i] = text[i]
  }
  return line.join('').trimEnd()
}

/** The smallest of 1, 2, 5, 10, ... that is at least `least`. */
function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least))
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= least * (1 - 1e-9)) ?? 10
  return factor * power
}
