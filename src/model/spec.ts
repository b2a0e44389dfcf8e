/**
 * The shape of a transformer. The unit of placement in attention is one K/V group: `heads / kvHeads` query heads with
 * their key and value head (one query head without grouped queries).
 */
export interface ModelSpec {
  readonly id: string
  readonly family: 'gpt2' | 'llama'
  readonly layers: number
  /** Residual width d. */
  readonly width: number
  readonly heads: number
  /** Key/value heads G; equals `heads` without grouped queries. */
  readonly kvHeads: number
  readonly headDim: number
  /** FFN inner width. LLaMA's FFN is gated: W1 and W3 are both [ffnWidth, width]. */
  readonly ffnWidth: number
  readonly vocabulary: number
  /** Longest context (prompt plus output) in tokens. */
  readonly contextTokens: number
  /** Whether the lm_head shares the embedding's matrix. */
  readonly tiedHead: boolean
  /** Epsilon of every norm. Default: the family's (GPT-2 1e-5, LLaMA 1e-6). */
  readonly normEpsilon?: number
  /** Base of the rotary embedding's angles (LLaMA). Default: 10,000. */
  readonly ropeBase?: number
}

/** The two halves of an FFN: `first` is W1 (and the gate), `second` is W2. */
export type FfnPart = 'whole' | 'first' | 'second'

/** Number of placement units in one attention block. */
export function attentionUnits(model: ModelSpec): number {
  return model.kvHeads
}

/** Number of query heads in one unit. */
export function headsPerUnit(model: ModelSpec): number {
  return model.heads / model.kvHeads
}

/** Parameters of one attention unit (its query heads, K/V head and rows of the output projection). */
export function attentionUnitParameters(model: ModelSpec): number {
  const group = headsPerUnit(model)
  return model.width * model.headDim * (2 * group + 2)
}

/** Parameters of an FFN or one of its halves. */
export function ffnParameters(model: ModelSpec, part: FfnPart): number {
  const matrix = model.width * model.ffnWidth
  const first = model.family === 'llama' ? 2 * matrix : matrix
  return part === 'whole' ? first + matrix : part === 'first' ? first : matrix
}

/** Parameters of the token embedding (and GPT-2's learned positions). */
export function embeddingParameters(model: ModelSpec): number {
  const positions = model.family === 'gpt2' ? model.contextTokens * model.width : 0
  return model.vocabulary * model.width + positions
}

/** Parameters of final norm and lm_head. */
export function lmHeadParameters(model: ModelSpec): number {
  return model.vocabulary * model.width
}

/** K/V cache bytes of one unit in one layer for each token. */
export function kvBytesPerUnitToken(model: ModelSpec, bytesPerElement: number): number {
  return 2 * model.headDim * bytesPerElement
}
