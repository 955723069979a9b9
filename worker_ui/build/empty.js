export default {};
export const create = undefined;
