import { InputError, show } from '../../core/errors.ts'
import type { Engine, Fetched, Session } from '../../core/engine/types.ts'
import { GraphBuilder } from '../../core/onnx/builder.ts'
import { parameterViews } from '../../core/onnx/parameters.ts'
import { tensor } from '../../core/onnx/tensor.ts'
import { networkLayout, networkLogits } from './network.ts'
import type { Network } from './network.ts'
import { encodeText } from './text.ts'

/** In the figures below, a token leaves at an exit if its highest probability is at least this. */
const CONFIDENCE = 0.8

/** How well one head predicts a text: means over its tokens, including the end token. */
export interface HeadQuality {
  /** Layers before the head. */
  readonly layer: number
  /** Cross-entropy. */
  readonly natsPerCharacter: number
  /** exp of that. */
  readonly perplexity: number
  /** Share of tokens whose most probable prediction is correct. */
  readonly accuracy: number
  /** Share of tokens whose highest probability is at least CONFIDENCE. */
  readonly confidentShare: number
  /** Share of those whose prediction is correct; null if there are none. */
  readonly confidentAccuracy: number | null
}

const BATCH = 4

/**
 * Evaluates how well every exit and the last layer predict whole texts, each from its beginning. Throws InputError for
 * a text longer than the model's context.
 */
export async function evaluate(
  engine: Engine,
  network: Network,
  parameters: Float32Array,
  texts: readonly string[],
): Promise<HeadQuality[]> {
  const window = network.model.contextTokens
  const layers = [...network.exitLayers, network.model.layers]
  const sums = layers.map(() => ({ nats: 0, right: 0, confident: 0, confidentRight: 0 }))
  const rows = texts.map((text) => checkedTokens(text, window))
  const session = await engine.create(evaluationModel(network, BATCH, window))
  try {
    for (let at = 0; at < rows.length; at += BATCH) {
      const part = rows.slice(at, at + BATCH)
      addUp(sums, part, window, await runBatch(session, parameters, part, window))
    }
  } finally {
    await session.dispose()
  }
  const count = rows.reduce((total, tokens) => total + tokens.length - 1, 0)
  return sums.map(({ nats, right, confident, confidentRight }, i) => ({
    layer: layers[i],
    natsPerCharacter: nats / count,
    perplexity: Math.exp(nats / count),
    accuracy: right / count,
    confidentShare: confident / count,
    confidentAccuracy: confident === 0 ? null : confidentRight / confident,
  }))
}

function checkedTokens(text: string, window: number): number[] {
  const tokens = encodeText(text)
  if (tokens.length - 1 <= window) return tokens
  throw new InputError({
    where: `evaluation: ${show(text, 40)}`,
    expected: `at most ${window - 1} characters`,
    found: `${text.length}`,
  })
}

/**
 * Inputs: parameters float32 [P]; ids, targets int32 [batch, window].
 * Outputs, [heads, batch * window] each: nats float32, confidence float32, predicted int64.
 */
function evaluationModel(network: Network, batch: number, window: number): Uint8Array {
  const g = new GraphBuilder('pretrain-evaluate')
  const layout = networkLayout(network)
  const flat = g.input('parameters', 'float32', [layout.size])
  const ids = g.input('ids', 'int32', [batch, window])
  const targets = g.reshape(g.input('targets', 'int32', [batch, window]), [batch * window, 1])
  const logits = networkLogits(g, network, parameterViews(g, flat, layout), ids)
  const heads = network.exitLayers.length + 1
  const shape = [heads, batch * window]
  const logs = g.logSoftmax(logits)
  const rows = g.concat(new Array<typeof targets>(heads).fill(targets), 0)
  g.output(g.reshape(g.neg(g.gatherElements(logs, rows, 1)), shape), 'nats')
  g.output(g.reshape(g.exp(g.reduceMax(logs, [1])), shape), 'confidence')
  g.output(g.reshape(g.argMax(logits, 1), shape), 'predicted')
  return g.serialize()
}

/** Missing rows of a batch, and positions after a text's end, stay 0: no earlier position sees them. */
function runBatch(
  session: Session,
  parameters: Float32Array,
  part: readonly number[][],
  window: number,
): Promise<Fetched> {
  const ids = new Int32Array(BATCH * window)
  const targets = new Int32Array(BATCH * window)
  part.forEach((tokens, row) => {
    ids.set(tokens.slice(0, -1), row * window)
    targets.set(tokens.slice(1), row * window)
  })
  return session.run({
    parameters: tensor('float32', [parameters.length], parameters),
    ids: tensor('int32', [BATCH, window], ids),
    targets: tensor('int32', [BATCH, window], targets),
  })
}

interface Sums {
  nats: number
  right: number
  confident: number
  confidentRight: number
}

function addUp(sums: readonly Sums[], part: readonly number[][], window: number, found: Fetched): void {
  const nats = found.nats.data as Float32Array
  const confidence = found.confidence.data as Float32Array
  const predicted = found.predicted.data as BigInt64Array
  sums.forEach((sum, head) => {
    part.forEach((tokens, row) => {
      for (let i = 0; i + 1 < tokens.length; i++) {
        const at = (head * BATCH + row) * window + i
        const right = Number(predicted[at]) === tokens[i + 1] ? 1 : 0
        sum.nats += nats[at]
        sum.right += right
        if (confidence[at] < CONFIDENCE) continue
        sum.confident++
        sum.confidentRight += right
      }
    })
  })
}
