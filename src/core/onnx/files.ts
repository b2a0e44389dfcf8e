import { decodeModel } from './read.ts'

/** Names of the files beside a model that hold its external data. */
export function externalLocations(bytes: Uint8Array, where: string): string[] {
  const found = decodeModel(bytes, where).graph.initializers.flatMap((initializer) =>
    'external' in initializer ? [initializer.external.location] : [],
  )
  return [...new Set(found)]
}
