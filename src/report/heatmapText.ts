import { stripVTControlCharacters } from 'node:util'
import type { Cell, PicturedPlan, PicturedRow } from './planPicture.ts'
import { captions, cellOf, hasUnused, rowsOf } from './planPicture.ts'
import { paint } from './table.ts'

/** Layout of text heat maps. */
interface TextMapStyle {
  readonly colour: boolean
  /** Width in characters to fill with maps side by side; maps that do not fit are placed below. */
  readonly columns: number
  /** Draws equal neighbouring layers as one line. */
  readonly collapse?: boolean
}

const GLYPHS: Readonly<Record<Cell, string>> = { edge: '·', cloud: '█', unused: ' ' }
const COLOURS = { edge: 'cyan', cloud: 'yellow', unused: 'dim' } as const
const GAP = '   '
/** Width for `embed` or a range of layers such as `17-32`. */
const LABEL_WIDTH = 5

/**
 * Renders heat maps (layers x heads, with the FFN's matrices beside them) side by side, with a legend. No trailing
 * newline.
 */
export function renderTextMaps(plans: readonly PicturedPlan[], style: TextMapStyle): string {
  const caption = captions(plans)
  const maps = plans.map((plan, index) => oneMap(plan, caption[index], style))
  const lines: string[] = []
  for (let first = 0; first < maps.length;) {
    const count = fitting(maps.slice(first), style.columns)
    if (first > 0) lines.push('')
    lines.push(...beside(maps.slice(first, first + count)))
    first += count
  }
  return [...lines, '', legend(style, plans.some(hasUnused))].join('\n')
}

/** Lines of one map, not padded. */
function oneMap(plan: PicturedPlan, caption: readonly string[], style: TextMapStyle): string[] {
  const label = (text: string): string => text.padStart(LABEL_WIDTH)
  const whole = (cell: Cell): string => glyphs(new Array<Cell>(plan.heads + 3).fill(cell), style)
  const groups =
    style.collapse === true ? collapse(rowsOf(plan)) : rowsOf(plan).map((row) => [row, row] as const)
  const lines = [
    paint(plan.title, 'bold', style),
    ...caption,
    `${label('')}  ${'heads'.padEnd(plan.heads)} FFN`,
    `${label('embed')}  ${whole(cellOf(plan.embed))}`,
  ]
  const exit = plan.exit ?? null
  for (const [from, to] of groups) {
    const name = from.layer === to.layer ? String(from.layer) : `${from.layer}-${to.layer}`
    lines.push(`${label(name)}  ${glyphs(from.heads, style)} ${glyphs(from.ffn, style)}`)
    if (exit !== null && exit.layer >= from.layer && exit.layer <= to.layer) {
      lines.push(`${label('exit')}  ${'─'.repeat(plan.heads + 3)}`)
    }
  }
  lines.push(`${label('head')}  ${whole(cellOf(plan.head))}`)
  return lines
}

/** Ranges of equal rows as [first, last]. */
function collapse(rows: readonly PicturedRow[]): (readonly [PicturedRow, PicturedRow])[] {
  const runs: [PicturedRow, PicturedRow][] = []
  for (const row of rows) {
    const last = runs.at(-1)
    if (last !== undefined && sameCells(last[0], row)) last[1] = row
    else runs.push([row, row])
  }
  return runs
}

function sameCells(a: PicturedRow, b: PicturedRow): boolean {
  return [...a.heads, ...a.ffn].join() === [...b.heads, ...b.ffn].join()
}

function glyphs(cells: readonly Cell[], style: TextMapStyle): string {
  let text = ''
  for (let from = 0; from < cells.length;) {
    let to = from
    while (to < cells.length && cells[to] === cells[from]) to++
    text += paint(GLYPHS[cells[from]].repeat(to - from), COLOURS[cells[from]], style)
    from = to
  }
  return text
}

function widthOf(text: string): number {
  return stripVTControlCharacters(text).length
}

/** How many maps fit side by side; at least one. */
function fitting(maps: readonly (readonly string[])[], columns: number): number {
  let used = 0
  for (const [index, map] of maps.entries()) {
    used += Math.max(...map.map(widthOf)) + (index === 0 ? 0 : GAP.length)
    if (index > 0 && used > columns) return index
  }
  return maps.length
}

function beside(maps: readonly (readonly string[])[]): string[] {
  const height = Math.max(...maps.map((map) => map.length))
  const widths = maps.map((map) => Math.max(...map.map(widthOf)))
  return Array.from({ length: height }, (_, line) =>
    maps
      .map((map, index) => {
        const text = map[line] ?? ''
        return text + ' '.repeat(widths[index] - widthOf(text))
      })
      .join(GAP)
      .trimEnd(),
  )
}

function legend(style: TextMapStyle, anyUnused: boolean): string {
  const item = (cell: Cell): string => `${paint(GLYPHS[cell], COLOURS[cell], style)} ${cell}`
  const blank = anyUnused ? '   blank: never run' : ''
  return `${item('edge')}   ${item('cloud')}${blank}   FFN: first matrix, second matrix`
}
