/** A plan as plain data for heat maps, with the fields of a plan in `--json`. */
export interface PicturedPlan {
  /** Caption, e.g. the link condition. */
  readonly title: string
  readonly subtitle?: string
  /** Placement units in each layer (heads, or K/V groups). */
  readonly heads: number
  readonly layers: readonly PicturedLayer[]
  readonly embed: Place
  readonly head: Place
  readonly boundaryBits?: number
  readonly exit?: PicturedExit | null
}

/** Where one layer's units and FFN run. */
interface PicturedLayer {
  readonly headsOnCloud: readonly number[]
  /** 0 = edge, 1 = cloud, 2 = first matrix on the edge, second in the cloud. */
  readonly ffn: 0 | 1 | 2
}

/** The plan's early exit. */
interface PicturedExit {
  readonly layer: number
  readonly threshold: number
  readonly mode: 'standalone' | 'collaborative'
}

/** A side, as a number or by name: 0 = edge, 1 = cloud. */
type Place = 0 | 1 | 'edge' | 'cloud'

/** What a cell shows. `unused`: a layer after a standalone exit, which never runs. */
export type Cell = 'edge' | 'cloud' | 'unused'

/** The cells of one layer. */
export interface PicturedRow {
  /** Layer number from 1. */
  readonly layer: number
  readonly heads: readonly Cell[]
  /** The FFN's first and second matrix. */
  readonly ffn: readonly [Cell, Cell]
}

/** The cells of every layer, from the first. */
export function rowsOf(plan: PicturedPlan): PicturedRow[] {
  return plan.layers.map((layer, index) => {
    if (isUnused(plan, index)) {
      return {
        layer: index + 1,
        heads: new Array<Cell>(plan.heads).fill('unused'),
        ffn: ['unused', 'unused'],
      }
    }
    const onCloud = new Set(layer.headsOnCloud)
    for (const head of onCloud) {
      if (!Number.isInteger(head) || head < 0 || head >= plan.heads) {
        throw new RangeError(`layer ${index}: expected heads in 0..${plan.heads - 1}, found ${head}`)
      }
    }
    const heads = Array.from({ length: plan.heads }, (_, head): Cell =>
      onCloud.has(head) ? 'cloud' : 'edge',
    )
    return {
      layer: index + 1,
      heads,
      ffn: [layer.ffn === 1 ? 'cloud' : 'edge', layer.ffn === 0 ? 'edge' : 'cloud'],
    }
  })
}

/** The cell of a side. */
export function cellOf(place: Place): Cell {
  return place === 1 || place === 'cloud' ? 'cloud' : 'edge'
}

/** Whether a plan has layers that never run. */
export function hasUnused(plan: PicturedPlan): boolean {
  return plan.layers.some((_, index) => isUnused(plan, index))
}

/** Whether a layer comes after a standalone exit. */
function isUnused(plan: PicturedPlan, index: number): boolean {
  return plan.exit?.mode === 'standalone' && index >= plan.exit.layer
}

/**
 * Whether parts that run are on both sides, so that tensors cross the link and not only token ids. Charts know no plans,
 * only what is printed of them; test/report/heatmap.test.ts holds it to the messages of the lowered plan.
 */
function crosses(plan: PicturedPlan): boolean {
  const cells = rowsOf(plan).flatMap(({ heads, ffn }) => [...heads, ...ffn])
  const ends = plan.exit?.mode === 'standalone' ? [] : [cellOf(plan.head)]
  const places = new Set([...cells, cellOf(plan.embed), ...ends].filter((cell) => cell !== 'unused'))
  return places.size > 1
}

/** Boundary bits and exit in words, one line each; empty if there is nothing to mention. */
export function planNotes(plan: PicturedPlan): string[] {
  const notes: string[] = []
  if (!crosses(plan)) notes.push('no tensor crosses the link')
  else if (plan.boundaryBits !== undefined) notes.push(`boundary tensors in ${plan.boundaryBits} bits`)
  const exit = plan.exit ?? null
  if (exit !== null) {
    const how = exit.mode === 'standalone' ? 'every token' : `confidence >= ${exit.threshold}`
    notes.push(`exit after layer ${exit.layer}: ${how}`)
  }
  return notes
}

/** Caption lines below the titles; every plan gets the same number, so that maps side by side are aligned. */
export function captions(plans: readonly PicturedPlan[]): string[][] {
  const lines = plans.map((plan) => [
    ...(plan.subtitle === undefined ? [] : [plan.subtitle]),
    ...planNotes(plan),
  ])
  const most = Math.max(0, ...lines.map((own) => own.length))
  return lines.map((own) => [...own, ...new Array<string>(most - own.length).fill('')])
}
