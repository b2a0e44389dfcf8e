import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { lowerPlan } from '../../src/plan/lower.ts'
import { planToJson } from '../../src/plan/price/json.ts'
import { heatMapSpec } from '../../src/report/heatmapChart.ts'
import { renderTextMaps } from '../../src/report/heatmapText.ts'
import type { PicturedPlan } from '../../src/report/planPicture.ts'
import { planNotes, rowsOf } from '../../src/report/planPicture.ts'
import { renderPng, renderSvg } from '../../src/report/render.ts'
import { PLACE_COLOURS } from '../../src/report/theme.ts'
import { anyPlan as anyEdgewisePlan } from '../plan/anyPlan.ts'
import { randomPair } from '../plan/randomPair.ts'

const plan: PicturedPlan = {
  title: '8 Mbit/s',
  heads: 4,
  layers: [
    { headsOnCloud: [], ffn: 0 },
    { headsOnCloud: [1, 3], ffn: 2 },
    { headsOnCloud: [0, 1, 2, 3], ffn: 1 },
  ],
  embed: 'edge',
  head: 1,
  boundaryBits: 8,
}

const anyPlan: fc.Arbitrary<PicturedPlan> = fc
  .record({ heads: fc.integer({ min: 1, max: 12 }), depth: fc.integer({ min: 1, max: 10 }) })
  .chain(({ heads, depth }) =>
    fc.record({
      title: fc.constant('t'),
      heads: fc.constant(heads),
      layers: fc.array(
        fc.record({
          headsOnCloud: fc.uniqueArray(fc.integer({ min: 0, max: heads - 1 })),
          ffn: fc.constantFrom(0 as const, 1 as const, 2 as const),
        }),
        { minLength: depth, maxLength: depth },
      ),
      embed: fc.constantFrom('edge' as const, 1 as const),
      head: fc.constantFrom('cloud' as const, 0 as const),
    }),
  )

describe('the text map', () => {
  it('shows every head, both FFN matrices, embedding and head', () => {
    expect(renderTextMaps([plan], { colour: false, columns: 80 })).toBe(
      [
        '8 Mbit/s',
        'boundary tensors in 8 bits',
        '       heads FFN',
        'embed  ·······',
        '    1  ···· ··',
        '    2  ·█·█ ·█',
        '    3  ████ ██',
        ' head  ███████',
        '',
        '· edge   █ cloud   FFN: first matrix, second matrix',
      ].join('\n'),
    )
  })

  it('says that no tensor crosses exactly where the lowered plan sends none', () => {
    for (let seed = 0; seed < 100; seed++) {
      const random = randomStream(seed, 'crossing')
      const shape = { layers: 2 + random.integer(3), units: 1 + random.integer(3) }
      const pair = randomPair(random, shape)
      const drawn = anyEdgewisePlan(random, pair)
      const pictured = { title: 't', heads: pair.model.heads, ...planToJson(pair, drawn) }
      const { steps } = lowerPlan(pair.model, drawn).prefill
      const crosses = steps.some((step) => step.kind === 'send' && step.bits !== null)
      expect(planNotes(pictured).includes('no tensor crosses the link'), `seed ${seed}`).toBe(!crosses)
    }
  })

  it('names the width of boundary tensors only where some cross', () => {
    const edge = {
      ...plan,
      layers: plan.layers.map(() => ({ headsOnCloud: [], ffn: 0 as const })),
      head: 0 as const,
    }
    expect(planNotes(edge)).toEqual(['no tensor crosses the link'])
    expect(planNotes({ ...edge, head: 1 })).toEqual(['boundary tensors in 8 bits'])
    const cut = { ...plan, exit: { layer: 1, threshold: 0.5, mode: 'standalone' as const } }
    expect(planNotes(cut)).toEqual(['no tensor crosses the link', 'exit after layer 1: every token'])
    expect(planNotes({ ...cut, exit: { ...cut.exit, mode: 'collaborative' as const } })[0]).toBe(
      'boundary tensors in 8 bits',
    )
  })

  it('joins equal layers when asked, and cuts at an exit', () => {
    const uniform = { ...plan, layers: new Array(6).fill({ headsOnCloud: [], ffn: 0 }), head: 0 as const }
    expect(renderTextMaps([uniform], { colour: false, columns: 80, collapse: true })).toContain(
      '  1-6  ···· ··',
    )
    const exit = { layer: 4, threshold: 0.8, mode: 'standalone' } as const
    const text = renderTextMaps([{ ...uniform, exit }], { colour: false, columns: 80, collapse: true })
    expect(text).toMatch(/1-4 {2}···· ··\n exit {2}─+\n {2}5-6\n/)
    expect(text).toContain('never run')
  })

  it('puts maps beside each other only where they fit, and colours only when asked', () => {
    const beside = renderTextMaps([plan, plan], { colour: false, columns: 80 }).split('\n')
    const below = renderTextMaps([plan, plan], { colour: false, columns: 30 }).split('\n')
    expect(below.length).toBeGreaterThan(beside.length)
    expect(Math.max(...below.slice(0, -1).map((line) => line.length))).toBeLessThanOrEqual(30)
    expect(renderTextMaps([plan], { colour: true, columns: 80 })).toContain('\u001b[')
  })

  it('has as many cloud cells as the plan has parts there', () => {
    fc.assert(
      fc.property(anyPlan, (any) => {
        const cells = rowsOf(any).flatMap((row) => [...row.heads, ...row.ffn])
        const heads = any.layers.reduce((sum, layer) => sum + layer.headsOnCloud.length, 0)
        const matrices = any.layers.reduce((sum, layer) => sum + [0, 2, 1][layer.ffn], 0)
        expect(cells.filter((cell) => cell === 'cloud')).toHaveLength(heads + matrices)
        const ends = (any.heads + 3) * ((any.embed === 1 ? 1 : 0) + (any.head === 'cloud' ? 1 : 0))
        const text = renderTextMaps([any], { colour: false, columns: 80 }).split('\n').slice(0, -1).join('')
        expect(text.split('█').length - 1).toBe(heads + matrices + ends)
      }),
    )
  })

  it('refuses a head that does not exist', () => {
    expect(() => rowsOf({ ...plan, layers: [{ headsOnCloud: [4], ffn: 0 }] })).toThrow(
      'heads in 0..3, found 4',
    )
  })
})

describe('the drawn map', () => {
  const count = (svg: string, colour: string): number => svg.split(`fill="${colour}"`).length - 1

  it('has a tile for every part, in its colour', async () => {
    const svg = await renderSvg(heatMapSpec([plan, { ...plan, title: 'another' }], 'Both'))
    // Cloud: 6 heads, 3 matrices and the LM head; edge: 6 heads, 3 matrices, the embedding; one legend symbol each.
    expect(count(svg, PLACE_COLOURS.cloud)).toBe(2 * 10 + 1)
    expect(count(svg, PLACE_COLOURS.edge)).toBe(2 * 10 + 1)
    expect(count(svg, PLACE_COLOURS.unused)).toBe(0)
    for (const text of ['Both', '8 Mbit/s', 'another', 'LM head', 'on the edge', '4 heads'])
      expect(svg).toContain(text)
  })

  it('greys what a standalone exit never runs', async () => {
    const exit = { layer: 1, threshold: 0.8, mode: 'standalone' } as const
    const svg = await renderSvg(heatMapSpec([{ ...plan, head: 0, exit }]))
    expect(count(svg, PLACE_COLOURS.unused)).toBe(2 * 6 + 1)
    expect(svg).toContain('never run')
  })

  it('becomes a PNG of twice its size', async () => {
    const svg = await renderSvg(heatMapSpec([plan]))
    const png = await renderPng(svg)
    expect(png.subarray(0, 8).toString('hex')).toBe('89504e470d0a1a0a')
    const width = Number(/width="(\d+)/.exec(svg)?.[1])
    expect(png.readUInt32BE(16)).toBe(2 * width)
  })
})
