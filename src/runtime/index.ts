export * from './edge.ts'
