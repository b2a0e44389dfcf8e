import type { TopLevelSpec } from 'vega-lite'
import type { Cell, PicturedPlan } from './planPicture.ts'
import { captions, cellOf, hasUnused, rowsOf } from './planPicture.ts'
import { FAINT_INK, INK, PLACE_COLOURS, THEME } from './theme.ts'

/** A rectangle; units are cells. */
interface Tile {
  readonly x: number
  readonly x2: number
  readonly y: number
  readonly y2: number
  readonly place: Cell
}

interface Label {
  readonly x: number
  readonly y: number
  readonly text: string
}

/** Space between the parts of a map, in cells, and the seam between cells. */
const PART_GAP = 0.7
const SEAM = 0.06

/**
 * Vega-Lite specification of heat maps side by side, one for each plan: layers down, heads across, the FFN's matrices
 * beside them.
 */
export function heatMapSpec(plans: readonly PicturedPlan[], title?: string): TopLevelSpec {
  const largest = Math.max(...plans.map((plan) => Math.max(plan.layers.length + 4, plan.heads + 4)))
  const cellPixels = Math.max(7, Math.min(20, Math.floor(420 / largest)))
  const caption = captions(plans)
  const cells: Cell[] = plans.some(hasUnused) ? ['edge', 'cloud', 'unused'] : ['edge', 'cloud']
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    config: THEME,
    ...(title === undefined ? {} : { title: { text: title, fontSize: 18, offset: 18 } }),
    spacing: 34,
    hconcat: plans.map((plan, index) => oneMap(plan, caption[index], cells, cellPixels)),
    resolve: { scale: { color: 'shared' } },
  } as unknown as TopLevelSpec
}

function oneMap(
  plan: PicturedPlan,
  caption: readonly string[],
  cells: readonly Cell[],
  cellPixels: number,
): object {
  const geometry = layOut(plan)
  const x = {
    type: 'quantitative',
    axis: null,
    scale: { domain: [0, geometry.width], nice: false, zero: false },
  }
  const y = {
    type: 'quantitative',
    axis: null,
    scale: { domain: [geometry.height, 0], nice: false, zero: false },
  }
  const text = (values: readonly Label[], align: string, colour: string) => ({
    data: { values },
    mark: { type: 'text', align, baseline: 'middle', fontSize: 10, color: colour, clip: false },
    encoding: { x: { ...x, field: 'x' }, y: { ...y, field: 'y' }, text: { field: 'text' } },
  })
  return {
    title: { text: plan.title, subtitle: caption },
    width: Math.round(geometry.width * cellPixels),
    height: Math.round(geometry.height * cellPixels),
    layer: [
      {
        data: { values: geometry.tiles },
        mark: { type: 'rect', opacity: 1, stroke: null },
        encoding: {
          x: { ...x, field: 'x' },
          x2: { field: 'x2' },
          y: { ...y, field: 'y' },
          y2: { field: 'y2' },
          color: colourScale(cells),
        },
      },
      text(geometry.rowLabels, 'right', FAINT_INK),
      text(geometry.columnLabels, 'center', FAINT_INK),
      {
        data: { values: geometry.exitLines },
        mark: { type: 'rule', color: INK, strokeWidth: 1.6, strokeDash: [4, 3] },
        encoding: { x: { ...x, field: 'x' }, x2: { field: 'x2' }, y: { ...y, field: 'y' } },
      },
    ],
  }
}

function colourScale(domain: readonly Cell[]): object {
  return {
    field: 'place',
    type: 'nominal',
    scale: { domain, range: domain.map((cell) => PLACE_COLOURS[cell]) },
    legend: {
      title: null,
      orient: 'bottom',
      direction: 'horizontal',
      offset: 14,
      labelExpr:
        "datum.label === 'unused' ? 'never run' : datum.label === 'edge' ? 'on the edge' : 'in the cloud'",
    },
  }
}

interface Geometry {
  readonly width: number
  readonly height: number
  readonly tiles: Tile[]
  readonly rowLabels: Label[]
  readonly columnLabels: Label[]
  readonly exitLines: { readonly x: number; readonly x2: number; readonly y: number }[]
}

/**
 * Positions of all tiles: embedding, layers, lm_head from top to bottom; heads and the FFN's two matrices from left to
 * right.
 */
function layOut(plan: PicturedPlan): Geometry {
  const ffnX = plan.heads + PART_GAP
  const width = ffnX + 2
  const firstLayerY = 1 + PART_GAP
  const headY = firstLayerY + plan.layers.length + PART_GAP
  const rowLabels: Label[] = []
  const tiles: Tile[] = []
  const add = (x: number, y: number, wide: number, place: Cell): void => {
    tiles.push({ x: x + SEAM, x2: x + wide - SEAM, y: y + SEAM, y2: y + 1 - SEAM, place })
  }
  const mark = (y: number, text: string): void => {
    rowLabels.push({ x: -0.6, y: y + 0.5, text })
  }
  add(0, 0, width, cellOf(plan.embed))
  mark(0, 'embedding')
  for (const row of rowsOf(plan)) {
    const y = firstLayerY + row.layer - 1
    row.heads.forEach((cell, head) => add(head, y, 1, cell))
    row.ffn.forEach((cell, part) => add(ffnX + part, y, 1, cell))
    if (isLabelled(row.layer, plan.layers.length)) mark(y, String(row.layer))
  }
  add(0, headY, width, cellOf(plan.head))
  mark(headY, 'LM head')
  const labelY = headY + 1.7
  const columnLabels = [
    { x: plan.heads / 2, y: labelY, text: `${plan.heads} heads` },
    { x: ffnX + 1, y: labelY, text: 'FFN' },
  ]
  const exit = plan.exit ?? null
  const exitLines = exit === null ? [] : [{ x: 0, x2: width, y: firstLayerY + exit.layer }]
  return { width, height: headY + 2.2, tiles, rowLabels, columnLabels, exitLines }
}

/** Whether a layer gets a label: the first, the last, and some at equal distances. */
function isLabelled(layer: number, layers: number): boolean {
  const step = layers <= 12 ? 1 : layers <= 24 ? 2 : layers <= 48 ? 4 : 8
  if (layer === 1 || layer === layers) return true
  return layer % step === 0 && layers - layer >= step / 2
}
