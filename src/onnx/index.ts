export * from './builder.ts'
export * from './proto.ts'
export * from './tensor.ts'
export { encodeModel, encodeModelChunks } from './write.ts'
