import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { InputError } from '../../src/core/errors.ts'
import { openEngine } from '../../src/core/engine/open.ts'
import type { Feeds, Session } from '../../src/core/engine/types.ts'
import { embeddingGraph, ffnGraph, lmHeadGraph } from './blockGraphs.ts'
import { attentionPrefillGraph } from './attentionGraphs.ts'
import { buildSubgraph } from '../../src/model/graphs/subgraph.ts'
import type { Subgraph, SubgraphPart } from '../../src/model/graphs/subgraphTypes.ts'
import { attentionUnits } from '../../src/model/spec.ts'
import { tensor } from '../../src/core/onnx/tensor.ts'
import { advance, Caches, data, idsOf, wholeLayers, wholeModel } from './subgraphRun.ts'
import {
  gpt2Like,
  groupedLike,
  llamaLike,
  maxDifference,
  randomSource,
  range,
  referenceAttention,
  referenceLogits,
  referenceResidual,
  runGraph,
} from './support.ts'

const engine = await openEngine('native')
afterAll(() => engine.close())

const IDS = [3, 60, 0, 17, 17, 42, 8, 25, 1]
const CAPACITY = 16
const odd = { ...groupedLike, id: 'odd', normEpsilon: 1e-2, ropeBase: 500 }

describe.each([gpt2Like, llamaLike, groupedLike, odd])('segments of $id', (model) => {
  const source = randomSource(model)
  const whole = wholeModel(model)
  const last = (values: Float64Array) => values.subarray(values.length - model.width)
  const rows = (values: ArrayLike<number>, width = model.width) =>
    tensor('float32', [values.length / width, width], Float32Array.from(values))
  const open = (segment: Subgraph, batch = 1): Promise<Session> =>
    engine.create(buildSubgraph(source, segment, { batch }).serialize())
  /** All tokens at once through a fresh segment. */
  const once = async (segment: Subgraph, inputs: Feeds, tokens = IDS.length) => {
    const session = await open(segment)
    const outputs = await advance(session, new Caches(model, segment, CAPACITY), tokens, inputs)
    await session.dispose()
    return outputs
  }

  test('the whole model agrees with one written out from the papers', async () => {
    const { logits } = await once(whole, { ids: idsOf(IDS) })
    const expected = referenceLogits(model, source.head(), referenceResidual(source, IDS))
    expect(logits.dims).toEqual([1, model.vocabulary])
    expect(maxDifference(data(logits), expected)).toBeLessThan(1e-5)
  })

  test('the whole model is the chain of its blocks', async () => {
    const positions = { dims: [IDS.length], data: range(0, IDS.length) }
    const ids = { dims: [IDS.length], data: BigInt64Array.from(IDS, BigInt) }
    let { x } = await runGraph(embeddingGraph(model, source.embedding()), { ids, positions })
    const dims = [IDS.length, model.width]
    for (let l = 0; l < model.layers; l++) {
      const attention = attentionPrefillGraph(model, source.attention(l), { residual: true })
      const middle = await runGraph(attention, { x: { dims, data: x }, positions })
      x = (await runGraph(ffnGraph(model, 'whole', source.ffn(l)), { x: { dims, data: middle.y } })).y
    }
    const row = { dims: [1, model.width], data: x.slice(x.length - model.width) }
    const chained = await runGraph(lmHeadGraph(model, source.head()), { x: row })
    const { logits } = await once(whole, { ids: idsOf(IDS) })
    expect(maxDifference(data(logits), chained.logits)).toBeLessThan(1e-5)
  })

  test('tokens may come in any chunks: the cache makes up for the rest', async () => {
    const session = await open(whole)
    const all = data((await once(whole, { ids: idsOf(IDS) })).logits)
    for (const chunks of [[5, 3, 1], [1, 1, 7], [9], [4, 5], IDS.map(() => 1)]) {
      const caches = new Caches(model, whole, chunks.length === 1 ? IDS.length : CAPACITY)
      let logits = new Float32Array()
      for (const tokens of chunks) {
        const ids = idsOf(IDS.slice(caches.held, caches.held + tokens))
        logits = Float32Array.from(data((await advance(session, caches, tokens, { ids })).logits))
      }
      expect(maxDifference(logits, all)).toBeLessThan(1e-5)
    }
  })

  test('any two sides of an attention add up, in chunks too', async () => {
    const x = referenceResidual(source, IDS, 0)
    const expected = referenceAttention(model, source.attention(0), x, IDS.length)
    const units = Array.from({ length: attentionUnits(model) }, (_, i) => i)
    const cases = fc.record({
      mine: fc.shuffledSubarray(units),
      chunk: fc.integer({ min: 1, max: IDS.length }),
    })
    const property = fc.asyncProperty(cases, async ({ mine, chunk }) => {
      const others = units.filter((unit) => !mine.includes(unit))
      const part = (chosen: number[], residual: boolean): Subgraph => ({
        input: 'x',
        parts: [{ kind: 'attention', layer: 0, units: chosen, residual }],
      })
      const sides = [part(mine, true), ...(others.length > 0 ? [part(others, false)] : [])]
      const sum = new Float64Array(x.length)
      for (const side of sides) {
        const session = await open(side)
        const caches = new Caches(model, side, CAPACITY)
        while (caches.held < IDS.length) {
          const from = caches.held
          const to = Math.min(from + chunk, IDS.length)
          const input = rows(x.subarray(from * model.width, to * model.width))
          const share = data((await advance(session, caches, to - from, { x: input })).y)
          for (const [i, value] of share.entries()) sum[from * model.width + i] += value
        }
        await session.dispose()
      }
      expect(maxDifference(sum, expected)).toBeLessThan(2e-5)
    })
    await fc.assert(property, { numRuns: 12 })
  })

  test('a layer cut at every boundary goes on with partial sums and inner activations', async () => {
    const x = rows(referenceResidual(source, IDS, 0))
    const half = (units: number[], residual: boolean): SubgraphPart => ({
      kind: 'attention',
      layer: 0,
      units,
      residual,
    })
    const rest = Array.from({ length: attentionUnits(model) - 1 }, (_, i) => i + 1)
    const mine = await once({ input: 'x', parts: [half([0], true)] }, { x })
    const theirs = await once({ input: 'x', parts: [half(rest, false)] }, { x })
    const first: Subgraph = { input: 'x+partial', parts: [{ kind: 'ffn', layer: 0, part: 'first' }] }
    const inner = await once(first, { x: mine.y, partial: theirs.y })
    expect(inner.hidden.dims).toEqual([IDS.length, model.ffnWidth])
    const on: Subgraph = {
      input: 'x+hidden',
      parts: [{ kind: 'ffn', layer: 0, part: 'second' }, ...wholeLayers(model, 1, model.layers)],
    }
    const end = await once(on, { x: inner.y, hidden: inner.hidden })
    expect(maxDifference(data(end.y), referenceResidual(source, IDS))).toBeLessThan(2e-5)
  })

  test('an exit gives its logits and the residual to go on from', async () => {
    const segment: Subgraph = {
      input: 'ids',
      parts: [{ kind: 'embed' }, ...wholeLayers(model, 0, 1), { kind: 'exit', layer: 1 }],
    }
    const outputs = await once(segment, { ids: idsOf(IDS) })
    const x = referenceResidual(source, IDS, 1)
    expect(maxDifference(data(outputs.y), x)).toBeLessThan(1e-5)
    expect(maxDifference(data(outputs.logits), referenceLogits(model, source.exitHead(1), x))).toBeLessThan(
      1e-5,
    )
  })

  test('the side of the residual may have no units', async () => {
    const x = referenceResidual(source, IDS, 0)
    const segment: Subgraph = {
      input: 'x',
      parts: [{ kind: 'attention', layer: 0, units: [], residual: true }],
    }
    const bias = source.attention(0).outputBias
    const outputs = await once(segment, { x: rows(last(x)) }, 1)
    expect(
      maxDifference(
        data(outputs.y),
        last(x).map((value, i) => value + (bias?.[i] ?? 0)),
      ),
    ).toBeLessThan(1e-6)
  })

  test('a batch gives what its sequences give alone, whatever their lengths and capacities', async () => {
    const prompts = [[3, 60, 0, 17], [42], [8, 25, 1, 7, 9, 11]]
    const segments: Subgraph[] = [
      whole,
      {
        input: 'x+partial',
        parts: [...wholeLayers(model, 1, 2), { kind: 'exit', layer: 2 }].slice(0, 2) as SubgraphPart[],
      },
      { input: 'x', parts: [{ kind: 'attention', layer: 1, units: [2, 0], residual: false }] },
    ]
    for (const segment of segments) {
      const single = await open(segment)
      const batched = await open(segment, prompts.length)
      const own = prompts.map((prompt) => new Caches(model, segment, prompt.length + 2))
      const kept = prompts.map((prompt) => new Caches(model, segment, prompt.length + 2))
      for (const [b, prompt] of prompts.entries()) {
        const x = rows(referenceResidual(source, prompt, 0))
        for (const caches of [own[b], kept[b]])
          await advance(single, caches, prompt.length, { ids: idsOf(prompt), x, partial: x })
      }
      const next = [5, 6, 7]
      const x = rows(referenceResidual(source, [5, 6, 7], 0))
      const inputs: Feeds = {
        ids: idsOf(next),
        x,
        partial: x,
        ...Object.assign({}, ...kept.map((caches, b) => caches.feeds(b, prompts.length))),
        positions: tensor(
          'int64',
          [3],
          BigInt64Array.from(kept, ({ held }) => BigInt(held)),
        ),
      }
      const feeds = Object.entries(inputs).filter(([name]) => batched.inputNames.includes(name))
      const outputs = await batched.run(Object.fromEntries(feeds))
      for (const [b, caches] of own.entries()) {
        const row = rows(data(x).subarray(b * model.width, (b + 1) * model.width))
        const alone = await advance(single, caches, 1, { ids: idsOf([next[b]]), x: row, partial: row })
        kept[b].append(outputs, 1, b, prompts.length)
        for (const name of ['y', 'logits']) {
          if (alone[name] === undefined) continue
          const size = data(alone[name]).length
          const mine = data(outputs[name]).subarray(b * size, (b + 1) * size)
          expect(maxDifference(mine, data(alone[name]))).toBeLessThan(1e-5)
        }
        for (const [name, value] of Object.entries(caches.feeds()).filter(([name]) => name !== 'mask'))
          expect(maxDifference(data(kept[b].feeds()[name]), data(value))).toBeLessThan(1e-5)
      }
    }
  })
})

describe('a segment', () => {
  const source = randomSource(gpt2Like)
  const attention = (layer: number, units: number[], residual = true): SubgraphPart => ({
    kind: 'attention',
    layer,
    units,
    residual,
  })
  const ffn = (layer: number, part: 'whole' | 'first' | 'second' = 'whole'): SubgraphPart => ({
    kind: 'ffn',
    layer,
    part,
  })
  test.each<[string, Subgraph, number]>([
    ['nothing', { input: 'x', parts: [] }, 1],
    ['ids without an embedding', { input: 'ids', parts: [ffn(0)] }, 1],
    ['an embedding of x', { input: 'x', parts: [{ kind: 'embed' }] }, 1],
    ['hidden for a whole FFN', { input: 'x+hidden', parts: [ffn(0)] }, 1],
    ['a second half without hidden', { input: 'x', parts: [ffn(0, 'second')] }, 1],
    ['a second half in the middle', { input: 'x', parts: [attention(0, [0]), ffn(0, 'second')] }, 1],
    ['something after a share', { input: 'x', parts: [attention(0, [0], false), ffn(0)] }, 1],
    ['something after a first half', { input: 'x', parts: [ffn(0, 'first'), attention(1, [0])] }, 1],
    ['a layer too many', { input: 'x', parts: [ffn(2)] }, 1],
    ['a unit too many', { input: 'x', parts: [attention(0, [6])] }, 1],
    ['a unit twice', { input: 'x', parts: [attention(0, [1, 1])] }, 1],
    ['no units and no residual', { input: 'x', parts: [attention(0, [], false)] }, 1],
    ['layers backwards', { input: 'x', parts: [ffn(1), attention(0, [0])] }, 1],
    ['a layer twice', { input: 'x', parts: [attention(0, [0]), attention(0, [1])] }, 1],
    ['an exit that is not there', { input: 'x', parts: [{ kind: 'exit', layer: 2 }] }, 1],
    ['a batch of none', { input: 'x', parts: [ffn(0)] }, 0],
    ['a batch too large', { input: 'x', parts: [ffn(0)] }, 257],
  ])('refuses %s', (_, segment, batch) => {
    expect(() => buildSubgraph(source, segment, { batch })).toThrow(InputError)
  })

  test('holds equal values once and names its weights', () => {
    const { graph } = buildSubgraph(randomSource(llamaLike), wholeModel(llamaLike)).toModel()
    const names = graph.initializers.map(({ name }) => name)
    expect(names).toContain('layer1.attention.query')
    expect(names.filter((name) => name.startsWith('rope.'))).toHaveLength(2)
    expect(graph.nodes.filter(({ opType }) => opType === 'LessOrEqual')).toHaveLength(1)
    const tied = buildSubgraph(source, wholeModel(gpt2Like)).toModel().graph.initializers
    const tables = tied.filter((it) => 'tensor' in it && it.tensor.dims[0] === gpt2Like.vocabulary)
    expect(tables.map(({ name }) => name)).toEqual(['embedding.tokens'])
  })
})
