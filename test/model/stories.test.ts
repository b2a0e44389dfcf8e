import { expect, test } from 'vitest'
import { openEngine } from '../../src/core/engine/open.ts'
import type { Engine, Session } from '../../src/core/engine/types.ts'
import { embeddingGraph, ffnGraph, lmHeadGraph } from './blockGraphs.ts'
import { attentionDecodeGraph } from './attentionGraphs.ts'
import type { WeightSource } from '../../src/model/graphs/source.ts'
import type { ModelSpec } from '../../src/model/spec.ts'
import { sliceUnits } from '../../src/model/graphs/weights.ts'
import { tensor } from '../../src/core/onnx/tensor.ts'
import { openPretrained } from '../../src/model/weights/open.ts'
import { describeShared, sharedPath } from '../shared.ts'

const checkpoint = 'weights/stories260K/stories260K.bin'

/** What llama2.c prints for this checkpoint at temperature 0 and 200 steps (its own test's expected output). */
const EXPECTED = `Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to play with it, but it was too high.
Lily's mom said, "Lily, let's go to the park." Lily was sad and didn't know what to do. She said, "I want to play with your ball, but I can't find it."
Lily was sad and didn't know what to do. She said, "I'm sorry, Lily. I didn't know what to do."
Lily didn't want to help her mom, so she`
const STEPS = 200
const CAPACITY = 200

interface Part {
  readonly session: Session
  readonly units: number
  readonly keys: Float32Array
  readonly values: Float32Array
}

interface Layer {
  readonly parts: readonly Part[]
  readonly first: Session
  readonly second: Session
}

/** Every layer in two uneven groups of heads, each with a K/V cache of its own, and its FFN in two halves. */
async function openLayer(engine: Engine, source: WeightSource, l: number): Promise<Layer> {
  const { model } = source
  const attention = source.attention(l)
  const ffn = source.ffn(l)
  const parts = [[3, 0, 1], [2]].map(async (units, i) => {
    const weights = sliceUnits(model, attention, units)
    const graph = attentionDecodeGraph(model, weights, { residual: i === 1 })
    const cache = () => new Float32Array(units.length * CAPACITY * model.headDim)
    return {
      session: await engine.create(graph.serialize()),
      units: units.length,
      keys: cache(),
      values: cache(),
    }
  })
  return {
    parts: await Promise.all(parts),
    first: await engine.create(ffnGraph(model, 'first', ffn).serialize()),
    second: await engine.create(ffnGraph(model, 'second', ffn).serialize()),
  }
}

/** One position through one layer; appends to the caches. */
async function step(
  model: ModelSpec,
  layer: Layer,
  x: Float32Array,
  position: number,
): Promise<Float32Array> {
  const { width, headDim, ffnWidth } = model
  const mask = Float32Array.from({ length: CAPACITY }, (_, i) => (i < position ? 0 : -Infinity))
  const sum = new Float32Array(width)
  for (const part of layer.parts) {
    const dims = [part.units, CAPACITY, headDim]
    const out = await part.session.run({
      x: tensor('float32', [1, width], x),
      position: tensor('int64', [1], BigInt64Array.of(BigInt(position))),
      keys: tensor('float32', dims, part.keys),
      values: tensor('float32', dims, part.values),
      mask: tensor('float32', [1, CAPACITY], mask),
    })
    for (let unit = 0; unit < part.units; unit++) {
      const to = (unit * CAPACITY + position) * headDim
      const from = [unit * headDim, (unit + 1) * headDim] as const
      part.keys.set((out.newKeys.data as Float32Array).subarray(...from), to)
      part.values.set((out.newValues.data as Float32Array).subarray(...from), to)
    }
    for (let i = 0; i < width; i++) sum[i] += (out.y.data as Float32Array)[i]
  }
  const residual = tensor('float32', [1, width], sum)
  const { hidden } = await layer.first.run({ x: residual })
  const inner = tensor('float32', [1, ffnWidth], hidden.data)
  return (await layer.second.run({ x: residual, hidden: inner })).y.data as Float32Array
}

describeShared('a real model', [checkpoint], () => {
  test('decomposed, stories260K tells the story that llama2.c tells', async () => {
    const { source, tokenizer } = openPretrained(sharedPath(checkpoint))
    const { model } = source
    const engine = await openEngine('native')
    const embed = await engine.create(embeddingGraph(model, source.embedding()).serialize())
    const head = await engine.create(lmHeadGraph(model, source.head()).serialize())
    const layers = await Promise.all(
      Array.from({ length: model.layers }, (_, l) => openLayer(engine, source, l)),
    )
    const told = [1]
    for (let position = 0; position < STEPS; position++) {
      let x = (await embed.run({ ids: tensor('int64', [1], BigInt64Array.of(BigInt(told[position]))) })).x
        .data as Float32Array
      for (const layer of layers) x = await step(model, layer, x, position)
      const logits = (await head.run({ x: tensor('float32', [1, model.width], x) })).logits
        .data as Float32Array
      told.push(logits.indexOf(Math.max(...logits)))
    }
    await engine.close()
    expect(tokenizer!.decode(told)).toBe(EXPECTED)
  })
})
