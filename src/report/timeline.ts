import { paint } from './table.ts'

/** A stretch of one lane. */
export interface TimelineSpan {
  readonly fromSeconds: number
  readonly toSeconds: number
  /** Work and transfers are drawn full, loading is drawn faint. */
  readonly kind: 'work' | 'transfer' | 'load'
}

export interface TimelineLane {
  readonly name: string
  readonly colour: 'cyan' | 'yellow' | 'green' | 'magenta'
  readonly spans: readonly TimelineSpan[]
}

export interface TimelineStyle {
  readonly colour: boolean
  /** Width to fill, lane names included. */
  readonly columns: number
}

type Kind = TimelineSpan['kind']

const GLYPHS: Readonly<Record<Kind, string>> = { work: '█', transfer: '━', load: '░' }
const IDLE = '·'
/** What a cell shows where several kinds fall into it. */
const PRECEDENCE: readonly Kind[] = ['work', 'transfer', 'load']
const MIN_CELLS = 10

/**
 * Lanes over one stretch of time, one line each, below them the scale in milliseconds. A span fills every cell that
 * it touches, and is cut where it leaves the stretch. No trailing newline.
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

/** What each kind of cell means, in one line. */
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

/** Ticks at round milliseconds, as many as fit apart. */
function scale(seconds: number, cells: number): string {
  const step = roundStep((1e3 * seconds) / Math.max(1, Math.floor(cells / 12)))
  const line = new Array<string>(cells).fill(' ')
  for (let tick = 0; ; tick++) {
    const text = `${tick === 0 ? '' : '|'}${Number((tick * step).toPrecision(12))}${tick === 0 ? ' ms' : ''}`
    // Rounding must not set a tick a cell too early.
    const at = Math.floor((cells * tick * step) / (1e3 * seconds) + 1e-6)
    if (at + text.length > cells) break
    for (let i = 0; i < text.length; i++) line[at + i] = text[i]
  }
  return line.join('').trimEnd()
}

/** The next of 1, 2, 5, 10, ... that is no less. */
function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least))
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= least * (1 - 1e-9)) ?? 10
  return factor * power
}
