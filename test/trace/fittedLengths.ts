import { moments } from '../../src/trace/lengths.ts'
import type { RecordedRequests } from '../../src/trace/lengths.ts'

/** The joint log-normal of recorded lengths, by the moments of the logarithms: how the shipped length model was fitted. */
export function fittedLengths(requests: RecordedRequests) {
  const prompt = moments(requests.promptTokens)
  const output = moments(requests.outputTokens)
  let product = 0
  for (let i = 0; i < requests.promptTokens.length; i++) {
    product +=
      (Math.log(requests.promptTokens[i]) - prompt.mean) * (Math.log(requests.outputTokens[i]) - output.mean)
  }
  const spread = requests.promptTokens.length * prompt.sd * output.sd
  const round = (value: number) => Math.round(value * 1e4) / 1e4
  const logNormal = ({ mean, sd, min, max }: ReturnType<typeof moments>) => ({
    logMean: round(mean),
    logSd: round(sd),
    min,
    max,
  })
  return {
    promptTokens: logNormal(prompt),
    outputTokens: logNormal(output),
    correlation: round(product / spread),
  }
}
