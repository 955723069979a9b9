// Made from answer.schema.json by build/validator.js.
export const validate = validate10;
export default validate10;
const schema11 = {"$schema":"http://json-schema.org/draft-07/schema#","$id":"dicom-workflow/answer/2","title":"What one worker said of one image","type":"object","required":["schema","labels","regions","pixel_origin"],"properties":{"schema":{"const":"dicom-workflow/answer/2"},"pixel_origin":{"const":"corner"},"labels":{"$ref":"#/definitions/labels"},"regions":{"type":"array","maxItems":500,"items":{"$ref":"#/definitions/region"}},"comment":{"type":"string","maxLength":4000},"unusable":{"enum":["","not-displayed","poor-quality","motion","rotation","wrong-view","wrong-body-part","incomplete","foreign-object","identity-visible","other"]},"measurements":{"type":"array","maxItems":500,"items":{"$ref":"#/definitions/measurement"}},"image":{"type":"object","required":["rows","columns"],"properties":{"sop_instance_uid":{"type":"string","maxLength":64},"rows":{"type":"integer","minimum":1},"columns":{"type":"integer","minimum":1},"stand_in":{"type":"boolean"}},"additionalProperties":false},"viewport":{"type":"object","properties":{"window_center":{"type":"number"},"window_width":{"type":"number"},"inverted":{"type":"boolean"},"center_px":{"$ref":"#/definitions/point"},"zoom":{"type":"number"},"rotation_deg":{"enum":[0,90,180,270]},"mirrored":{"type":"boolean"}},"additionalProperties":false},"timings":{"type":"object","properties":{"opened_at":{"type":"string","maxLength":40},"sent_at":{"type":"string","maxLength":40},"first_image_ms":{"type":"number","minimum":0},"active_seconds":{"type":"number","minimum":0},"first_read_seconds":{"type":"number","minimum":0}},"additionalProperties":false},"actions":{"type":"object","properties":{"clicks":{"type":"integer","minimum":0},"keys":{"type":"integer","minimum":0},"changes":{"type":"integer","minimum":0},"undone":{"type":"integer","minimum":0},"by_kind":{"type":"object","additionalProperties":{"type":"integer","minimum":0}}},"additionalProperties":false},"assistance":{"type":"object","required":["mode","model"],"properties":{"mode":{"enum":["off","after-first-read","shown"]},"model":{"type":"string","maxLength":200},"probabilities":{"type":"object","additionalProperties":{"type":"number","minimum":0,"maximum":1}},"first":{"type":"object","required":["labels","regions"],"properties":{"labels":{"$ref":"#/definitions/labels"},"regions":{"type":"array","maxItems":500,"items":{"$ref":"#/definitions/region"}},"unusable":{"type":"string","maxLength":40}},"additionalProperties":false},"taken_regions":{"type":"integer","minimum":0}},"additionalProperties":false},"adjudication":{"type":"object","required":["readers","agreed","decided"],"properties":{"readers":{"type":"integer","minimum":2},"agreed":{"type":"array","items":{"type":"string"}},"decided":{"type":"object","additionalProperties":{"type":"array","items":{"type":"string","maxLength":8}}}},"additionalProperties":false},"page":{"type":"string","maxLength":40}},"additionalProperties":false,"definitions":{"labels":{"type":"object","additionalProperties":{"enum":["positive","uncertain","negative","unknown"]},"propertyNames":{"minLength":1,"maxLength":200}},"point":{"type":"array","items":{"type":"number","minimum":-1000000,"maximum":1000000},"minItems":2,"maxItems":2},"region":{"type":"object","required":["label","shape","points_px"],"properties":{"label":{"type":"string","maxLength":200},"shape":{"enum":["rectangle","ellipse","polygon","point"]},"points_px":{"type":"array","minItems":1,"maxItems":5000,"items":{"$ref":"#/definitions/point"}},"comment":{"type":"string","maxLength":1000}},"allOf":[{"if":{"properties":{"shape":{"enum":["rectangle","ellipse"]}}},"then":{"properties":{"points_px":{"minItems":2,"maxItems":2}}}},{"if":{"properties":{"shape":{"const":"polygon"}}},"then":{"properties":{"points_px":{"minItems":3}}}},{"if":{"properties":{"shape":{"const":"point"}}},"then":{"properties":{"points_px":{"maxItems":1}}}}],"additionalProperties":false},"measurement":{"type":"object","required":["kind","points_px"],"properties":{"kind":{"enum":["length","angle"]},"points_px":{"type":"array","minItems":2,"maxItems":3,"items":{"$ref":"#/definitions/point"}},"value":{"type":"number"},"unit":{"enum":["mm","mm on detector","px","deg"]}},"additionalProperties":false}}};
const schema12 = {"type":"object","additionalProperties":{"enum":["positive","uncertain","negative","unknown"]},"propertyNames":{"minLength":1,"maxLength":200}};
const schema14 = {"type":"array","items":{"type":"number","minimum":-1000000,"maximum":1000000},"minItems":2,"maxItems":2};
const func2 = Object.prototype.hasOwnProperty;
const func3 = (text) => [...text].length;
const schema13 = {"type":"object","required":["label","shape","points_px"],"properties":{"label":{"type":"string","maxLength":200},"shape":{"enum":["rectangle","ellipse","polygon","point"]},"points_px":{"type":"array","minItems":1,"maxItems":5000,"items":{"$ref":"#/definitions/point"}},"comment":{"type":"string","maxLength":1000}},"allOf":[{"if":{"properties":{"shape":{"enum":["rectangle","ellipse"]}}},"then":{"properties":{"points_px":{"minItems":2,"maxItems":2}}}},{"if":{"properties":{"shape":{"const":"polygon"}}},"then":{"properties":{"points_px":{"minItems":3}}}},{"if":{"properties":{"shape":{"const":"point"}}},"then":{"properties":{"points_px":{"maxItems":1}}}}],"additionalProperties":false};

function validate11(data, {instancePath="", parentData, parentDataProperty, rootData=data}={}){
let vErrors = null;
let errors = 0;
const _errs1 = errors;
const _errs2 = errors;
let valid1 = true;
const _errs3 = errors;
if(data && typeof data == "object" && !Array.isArray(data)){
if(data.shape !== undefined){
let data0 = data.shape;
if(!((data0 === "rectangle") || (data0 === "ellipse"))){
const err0 = {};
if(vErrors === null){
vErrors = [err0];
}
else {
vErrors.push(err0);
}
errors++;
}
}
}
var _valid0 = _errs3 === errors;
errors = _errs2;
if(vErrors !== null){
if(_errs2){
vErrors.length = _errs2;
}
else {
vErrors = null;
}
}
if(_valid0){
const _errs5 = errors;
if(data && typeof data == "object" && !Array.isArray(data)){
if(data.points_px !== undefined){
let data1 = data.points_px;
if(Array.isArray(data1)){
if(data1.length > 2){
validate11.errors = [{instancePath:instancePath+"/points_px",schemaPath:"#/allOf/0/then/properties/points_px/maxItems",keyword:"maxItems",params:{limit: 2},message:"must NOT have more than 2 items"}];
return false;
}
else {
if(data1.length < 2){
validate11.errors = [{instancePath:instancePath+"/points_px",schemaPath:"#/allOf/0/then/properties/points_px/minItems",keyword:"minItems",params:{limit: 2},message:"must NOT have fewer than 2 items"}];
return false;
}
}
}
}
}
var _valid0 = _errs5 === errors;
valid1 = _valid0;
}
if(!valid1){
const err1 = {instancePath,schemaPath:"#/allOf/0/if",keyword:"if",params:{failingKeyword: "then"},message:"must match \"then\" schema"};
if(vErrors === null){
vErrors = [err1];
}
else {
vErrors.push(err1);
}
errors++;
validate11.errors = vErrors;
return false;
}
var valid0 = _errs1 === errors;
if(valid0){
const _errs7 = errors;
const _errs8 = errors;
let valid4 = true;
const _errs9 = errors;
if(data && typeof data == "object" && !Array.isArray(data)){
if(data.shape !== undefined){
if("polygon" !== data.shape){
const err2 = {};
if(vErrors === null){
vErrors = [err2];
}
else {
vErrors.push(err2);
}
errors++;
}
}
}
var _valid1 = _errs9 === errors;
errors = _errs8;
if(vErrors !== null){
if(_errs8){
vErrors.length = _errs8;
}
else {
vErrors = null;
}
}
if(_valid1){
const _errs11 = errors;
if(data && typeof data == "object" && !Array.isArray(data)){
if(data.points_px !== undefined){
let data3 = data.points_px;
if(Array.isArray(data3)){
if(data3.length < 3){
validate11.errors = [{instancePath:instancePath+"/points_px",schemaPath:"#/allOf/1/then/properties/points_px/minItems",keyword:"minItems",params:{limit: 3},message:"must NOT have fewer than 3 items"}];
return false;
}
}
}
}
var _valid1 = _errs11 === errors;
valid4 = _valid1;
}
if(!valid4){
const err3 = {instancePath,schemaPath:"#/allOf/1/if",keyword:"if",params:{failingKeyword: "then"},message:"must match \"then\" schema"};
if(vErrors === null){
vErrors = [err3];
}
else {
vErrors.push(err3);
}
errors++;
validate11.errors = vErrors;
return false;
}
var valid0 = _errs7 === errors;
if(valid0){
const _errs13 = errors;
const _errs14 = errors;
let valid7 = true;
const _errs15 = errors;
if(data && typeof data == "object" && !Array.isArray(data)){
if(data.shape !== undefined){
if("point" !== data.shape){
const err4 = {};
if(vErrors === null){
vErrors = [err4];
}
else {
vErrors.push(err4);
}
errors++;
}
}
}
var _valid2 = _errs15 === errors;
errors = _errs14;
if(vErrors !== null){
if(_errs14){
vErrors.length = _errs14;
}
else {
vErrors = null;
}
}
if(_valid2){
const _errs17 = errors;
if(data && typeof data == "object" && !Array.isArray(data)){
if(data.points_px !== undefined){
let data5 = data.points_px;
if(Array.isArray(data5)){
if(data5.length > 1){
validate11.errors = [{instancePath:instancePath+"/points_px",schemaPath:"#/allOf/2/then/properties/points_px/maxItems",keyword:"maxItems",params:{limit: 1},message:"must NOT have more than 1 items"}];
return false;
}
}
}
}
var _valid2 = _errs17 === errors;
valid7 = _valid2;
}
if(!valid7){
const err5 = {instancePath,schemaPath:"#/allOf/2/if",keyword:"if",params:{failingKeyword: "then"},message:"must match \"then\" schema"};
if(vErrors === null){
vErrors = [err5];
}
else {
vErrors.push(err5);
}
errors++;
validate11.errors = vErrors;
return false;
}
var valid0 = _errs13 === errors;
}
}
if(errors === 0){
if(data && typeof data == "object" && !Array.isArray(data)){
let missing0;
if((((data.label === undefined) && (missing0 = "label")) || ((data.shape === undefined) && (missing0 = "shape"))) || ((data.points_px === undefined) && (missing0 = "points_px"))){
validate11.errors = [{instancePath,schemaPath:"#/required",keyword:"required",params:{missingProperty: missing0},message:"must have required property '"+missing0+"'"}];
return false;
}
else {
const _errs19 = errors;
for(const key0 in data){
if(!((((key0 === "label") || (key0 === "shape")) || (key0 === "points_px")) || (key0 === "comment"))){
validate11.errors = [{instancePath,schemaPath:"#/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key0},message:"must NOT have additional properties"}];
return false;
break;
}
}
if(_errs19 === errors){
if(data.label !== undefined){
let data6 = data.label;
const _errs20 = errors;
if(errors === _errs20){
if(typeof data6 === "string"){
if(func3(data6) > 200){
validate11.errors = [{instancePath:instancePath+"/label",schemaPath:"#/properties/label/maxLength",keyword:"maxLength",params:{limit: 200},message:"must NOT have more than 200 characters"}];
return false;
}
}
else {
validate11.errors = [{instancePath:instancePath+"/label",schemaPath:"#/properties/label/type",keyword:"type",params:{type: "string"},message:"must be string"}];
return false;
}
}
var valid10 = _errs20 === errors;
}
else {
var valid10 = true;
}
if(valid10){
if(data.shape !== undefined){
let data7 = data.shape;
const _errs22 = errors;
if(!((((data7 === "rectangle") || (data7 === "ellipse")) || (data7 === "polygon")) || (data7 === "point"))){
validate11.errors = [{instancePath:instancePath+"/shape",schemaPath:"#/properties/shape/enum",keyword:"enum",params:{allowedValues: schema13.properties.shape.enum},message:"must be equal to one of the allowed values"}];
return false;
}
var valid10 = _errs22 === errors;
}
else {
var valid10 = true;
}
if(valid10){
if(data.points_px !== undefined){
let data8 = data.points_px;
const _errs23 = errors;
if(errors === _errs23){
if(Array.isArray(data8)){
if(data8.length > 5000){
validate11.errors = [{instancePath:instancePath+"/points_px",schemaPath:"#/properties/points_px/maxItems",keyword:"maxItems",params:{limit: 5000},message:"must NOT have more than 5000 items"}];
return false;
}
else {
if(data8.length < 1){
validate11.errors = [{instancePath:instancePath+"/points_px",schemaPath:"#/properties/points_px/minItems",keyword:"minItems",params:{limit: 1},message:"must NOT have fewer than 1 items"}];
return false;
}
else {
var valid11 = true;
const len0 = data8.length;
for(let i0=0; i0<len0; i0++){
let data9 = data8[i0];
const _errs25 = errors;
const _errs26 = errors;
if(errors === _errs26){
if(Array.isArray(data9)){
if(data9.length > 2){
validate11.errors = [{instancePath:instancePath+"/points_px/" + i0,schemaPath:"#/definitions/point/maxItems",keyword:"maxItems",params:{limit: 2},message:"must NOT have more than 2 items"}];
return false;
}
else {
if(data9.length < 2){
validate11.errors = [{instancePath:instancePath+"/points_px/" + i0,schemaPath:"#/definitions/point/minItems",keyword:"minItems",params:{limit: 2},message:"must NOT have fewer than 2 items"}];
return false;
}
else {
var valid13 = true;
const len1 = data9.length;
for(let i1=0; i1<len1; i1++){
let data10 = data9[i1];
const _errs28 = errors;
if(errors === _errs28){
if((typeof data10 == "number") && (isFinite(data10))){
if(data10 > 1000000 || isNaN(data10)){
validate11.errors = [{instancePath:instancePath+"/points_px/" + i0+"/" + i1,schemaPath:"#/definitions/point/items/maximum",keyword:"maximum",params:{comparison: "<=", limit: 1000000},message:"must be <= 1000000"}];
return false;
}
else {
if(data10 < -1000000 || isNaN(data10)){
validate11.errors = [{instancePath:instancePath+"/points_px/" + i0+"/" + i1,schemaPath:"#/definitions/point/items/minimum",keyword:"minimum",params:{comparison: ">=", limit: -1000000},message:"must be >= -1000000"}];
return false;
}
}
}
else {
validate11.errors = [{instancePath:instancePath+"/points_px/" + i0+"/" + i1,schemaPath:"#/definitions/point/items/type",keyword:"type",params:{type: "number"},message:"must be number"}];
return false;
}
}
var valid13 = _errs28 === errors;
if(!valid13){
break;
}
}
}
}
}
else {
validate11.errors = [{instancePath:instancePath+"/points_px/" + i0,schemaPath:"#/definitions/point/type",keyword:"type",params:{type: "array"},message:"must be array"}];
return false;
}
}
var valid11 = _errs25 === errors;
if(!valid11){
break;
}
}
}
}
}
else {
validate11.errors = [{instancePath:instancePath+"/points_px",schemaPath:"#/properties/points_px/type",keyword:"type",params:{type: "array"},message:"must be array"}];
return false;
}
}
var valid10 = _errs23 === errors;
}
else {
var valid10 = true;
}
if(valid10){
if(data.comment !== undefined){
let data11 = data.comment;
const _errs30 = errors;
if(errors === _errs30){
if(typeof data11 === "string"){
if(func3(data11) > 1000){
validate11.errors = [{instancePath:instancePath+"/comment",schemaPath:"#/properties/comment/maxLength",keyword:"maxLength",params:{limit: 1000},message:"must NOT have more than 1000 characters"}];
return false;
}
}
else {
validate11.errors = [{instancePath:instancePath+"/comment",schemaPath:"#/properties/comment/type",keyword:"type",params:{type: "string"},message:"must be string"}];
return false;
}
}
var valid10 = _errs30 === errors;
}
else {
var valid10 = true;
}
}
}
}
}
}
}
else {
validate11.errors = [{instancePath,schemaPath:"#/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
validate11.errors = vErrors;
return errors === 0;
}

const schema15 = {"type":"object","required":["kind","points_px"],"properties":{"kind":{"enum":["length","angle"]},"points_px":{"type":"array","minItems":2,"maxItems":3,"items":{"$ref":"#/definitions/point"}},"value":{"type":"number"},"unit":{"enum":["mm","mm on detector","px","deg"]}},"additionalProperties":false};

function validate13(data, {instancePath="", parentData, parentDataProperty, rootData=data}={}){
let vErrors = null;
let errors = 0;
if(errors === 0){
if(data && typeof data == "object" && !Array.isArray(data)){
let missing0;
if(((data.kind === undefined) && (missing0 = "kind")) || ((data.points_px === undefined) && (missing0 = "points_px"))){
validate13.errors = [{instancePath,schemaPath:"#/required",keyword:"required",params:{missingProperty: missing0},message:"must have required property '"+missing0+"'"}];
return false;
}
else {
const _errs1 = errors;
for(const key0 in data){
if(!((((key0 === "kind") || (key0 === "points_px")) || (key0 === "value")) || (key0 === "unit"))){
validate13.errors = [{instancePath,schemaPath:"#/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key0},message:"must NOT have additional properties"}];
return false;
break;
}
}
if(_errs1 === errors){
if(data.kind !== undefined){
let data0 = data.kind;
const _errs2 = errors;
if(!((data0 === "length") || (data0 === "angle"))){
validate13.errors = [{instancePath:instancePath+"/kind",schemaPath:"#/properties/kind/enum",keyword:"enum",params:{allowedValues: schema15.properties.kind.enum},message:"must be equal to one of the allowed values"}];
return false;
}
var valid0 = _errs2 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.points_px !== undefined){
let data1 = data.points_px;
const _errs3 = errors;
if(errors === _errs3){
if(Array.isArray(data1)){
if(data1.length > 3){
validate13.errors = [{instancePath:instancePath+"/points_px",schemaPath:"#/properties/points_px/maxItems",keyword:"maxItems",params:{limit: 3},message:"must NOT have more than 3 items"}];
return false;
}
else {
if(data1.length < 2){
validate13.errors = [{instancePath:instancePath+"/points_px",schemaPath:"#/properties/points_px/minItems",keyword:"minItems",params:{limit: 2},message:"must NOT have fewer than 2 items"}];
return false;
}
else {
var valid1 = true;
const len0 = data1.length;
for(let i0=0; i0<len0; i0++){
let data2 = data1[i0];
const _errs5 = errors;
const _errs6 = errors;
if(errors === _errs6){
if(Array.isArray(data2)){
if(data2.length > 2){
validate13.errors = [{instancePath:instancePath+"/points_px/" + i0,schemaPath:"#/definitions/point/maxItems",keyword:"maxItems",params:{limit: 2},message:"must NOT have more than 2 items"}];
return false;
}
else {
if(data2.length < 2){
validate13.errors = [{instancePath:instancePath+"/points_px/" + i0,schemaPath:"#/definitions/point/minItems",keyword:"minItems",params:{limit: 2},message:"must NOT have fewer than 2 items"}];
return false;
}
else {
var valid3 = true;
const len1 = data2.length;
for(let i1=0; i1<len1; i1++){
let data3 = data2[i1];
const _errs8 = errors;
if(errors === _errs8){
if((typeof data3 == "number") && (isFinite(data3))){
if(data3 > 1000000 || isNaN(data3)){
validate13.errors = [{instancePath:instancePath+"/points_px/" + i0+"/" + i1,schemaPath:"#/definitions/point/items/maximum",keyword:"maximum",params:{comparison: "<=", limit: 1000000},message:"must be <= 1000000"}];
return false;
}
else {
if(data3 < -1000000 || isNaN(data3)){
validate13.errors = [{instancePath:instancePath+"/points_px/" + i0+"/" + i1,schemaPath:"#/definitions/point/items/minimum",keyword:"minimum",params:{comparison: ">=", limit: -1000000},message:"must be >= -1000000"}];
return false;
}
}
}
else {
validate13.errors = [{instancePath:instancePath+"/points_px/" + i0+"/" + i1,schemaPath:"#/definitions/point/items/type",keyword:"type",params:{type: "number"},message:"must be number"}];
return false;
}
}
var valid3 = _errs8 === errors;
if(!valid3){
break;
}
}
}
}
}
else {
validate13.errors = [{instancePath:instancePath+"/points_px/" + i0,schemaPath:"#/definitions/point/type",keyword:"type",params:{type: "array"},message:"must be array"}];
return false;
}
}
var valid1 = _errs5 === errors;
if(!valid1){
break;
}
}
}
}
}
else {
validate13.errors = [{instancePath:instancePath+"/points_px",schemaPath:"#/properties/points_px/type",keyword:"type",params:{type: "array"},message:"must be array"}];
return false;
}
}
var valid0 = _errs3 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.value !== undefined){
let data4 = data.value;
const _errs10 = errors;
if(!((typeof data4 == "number") && (isFinite(data4)))){
validate13.errors = [{instancePath:instancePath+"/value",schemaPath:"#/properties/value/type",keyword:"type",params:{type: "number"},message:"must be number"}];
return false;
}
var valid0 = _errs10 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.unit !== undefined){
let data5 = data.unit;
const _errs12 = errors;
if(!((((data5 === "mm") || (data5 === "mm on detector")) || (data5 === "px")) || (data5 === "deg"))){
validate13.errors = [{instancePath:instancePath+"/unit",schemaPath:"#/properties/unit/enum",keyword:"enum",params:{allowedValues: schema15.properties.unit.enum},message:"must be equal to one of the allowed values"}];
return false;
}
var valid0 = _errs12 === errors;
}
else {
var valid0 = true;
}
}
}
}
}
}
}
else {
validate13.errors = [{instancePath,schemaPath:"#/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
validate13.errors = vErrors;
return errors === 0;
}


function validate10(data, {instancePath="", parentData, parentDataProperty, rootData=data}={}){
/*# sourceURL="dicom-workflow/answer/2" */;
let vErrors = null;
let errors = 0;
if(errors === 0){
if(data && typeof data == "object" && !Array.isArray(data)){
let missing0;
if(((((data.schema === undefined) && (missing0 = "schema")) || ((data.labels === undefined) && (missing0 = "labels"))) || ((data.regions === undefined) && (missing0 = "regions"))) || ((data.pixel_origin === undefined) && (missing0 = "pixel_origin"))){
validate10.errors = [{instancePath,schemaPath:"#/required",keyword:"required",params:{missingProperty: missing0},message:"must have required property '"+missing0+"'"}];
return false;
}
else {
const _errs1 = errors;
for(const key0 in data){
if(!(func2.call(schema11.properties, key0))){
validate10.errors = [{instancePath,schemaPath:"#/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key0},message:"must NOT have additional properties"}];
return false;
break;
}
}
if(_errs1 === errors){
if(data.schema !== undefined){
const _errs2 = errors;
if("dicom-workflow/answer/2" !== data.schema){
validate10.errors = [{instancePath:instancePath+"/schema",schemaPath:"#/properties/schema/const",keyword:"const",params:{allowedValue: "dicom-workflow/answer/2"},message:"must be equal to constant"}];
return false;
}
var valid0 = _errs2 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.pixel_origin !== undefined){
const _errs3 = errors;
if("corner" !== data.pixel_origin){
validate10.errors = [{instancePath:instancePath+"/pixel_origin",schemaPath:"#/properties/pixel_origin/const",keyword:"const",params:{allowedValue: "corner"},message:"must be equal to constant"}];
return false;
}
var valid0 = _errs3 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.labels !== undefined){
let data2 = data.labels;
const _errs4 = errors;
const _errs5 = errors;
if(errors === _errs5){
if(data2 && typeof data2 == "object" && !Array.isArray(data2)){
for(const key1 in data2){
const _errs7 = errors;
if(typeof key1 === "string"){
if(func3(key1) > 200){
const err0 = {instancePath:instancePath+"/labels",schemaPath:"#/definitions/labels/propertyNames/maxLength",keyword:"maxLength",params:{limit: 200},message:"must NOT have more than 200 characters",propertyName:key1};
if(vErrors === null){
vErrors = [err0];
}
else {
vErrors.push(err0);
}
errors++;
}
else {
if(func3(key1) < 1){
const err1 = {instancePath:instancePath+"/labels",schemaPath:"#/definitions/labels/propertyNames/minLength",keyword:"minLength",params:{limit: 1},message:"must NOT have fewer than 1 characters",propertyName:key1};
if(vErrors === null){
vErrors = [err1];
}
else {
vErrors.push(err1);
}
errors++;
}
}
}
var valid2 = _errs7 === errors;
if(!valid2){
const err2 = {instancePath:instancePath+"/labels",schemaPath:"#/definitions/labels/propertyNames",keyword:"propertyNames",params:{propertyName: key1},message:"property name must be valid"};
if(vErrors === null){
vErrors = [err2];
}
else {
vErrors.push(err2);
}
errors++;
validate10.errors = vErrors;
return false;
break;
}
}
if(valid2){
for(const key2 in data2){
let data3 = data2[key2];
const _errs9 = errors;
if(!((((data3 === "positive") || (data3 === "uncertain")) || (data3 === "negative")) || (data3 === "unknown"))){
validate10.errors = [{instancePath:instancePath+"/labels/" + key2.replace(/~/g, "~0").replace(/\//g, "~1"),schemaPath:"#/definitions/labels/additionalProperties/enum",keyword:"enum",params:{allowedValues: schema12.additionalProperties.enum},message:"must be equal to one of the allowed values"}];
return false;
}
var valid3 = _errs9 === errors;
if(!valid3){
break;
}
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/labels",schemaPath:"#/definitions/labels/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
var valid0 = _errs4 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.regions !== undefined){
let data4 = data.regions;
const _errs10 = errors;
if(errors === _errs10){
if(Array.isArray(data4)){
if(data4.length > 500){
validate10.errors = [{instancePath:instancePath+"/regions",schemaPath:"#/properties/regions/maxItems",keyword:"maxItems",params:{limit: 500},message:"must NOT have more than 500 items"}];
return false;
}
else {
var valid4 = true;
const len0 = data4.length;
for(let i0=0; i0<len0; i0++){
const _errs12 = errors;
if(!(validate11(data4[i0], {instancePath:instancePath+"/regions/" + i0,parentData:data4,parentDataProperty:i0,rootData}))){
vErrors = vErrors === null ? validate11.errors : vErrors.concat(validate11.errors);
errors = vErrors.length;
}
var valid4 = _errs12 === errors;
if(!valid4){
break;
}
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/regions",schemaPath:"#/properties/regions/type",keyword:"type",params:{type: "array"},message:"must be array"}];
return false;
}
}
var valid0 = _errs10 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.comment !== undefined){
let data6 = data.comment;
const _errs13 = errors;
if(errors === _errs13){
if(typeof data6 === "string"){
if(func3(data6) > 4000){
validate10.errors = [{instancePath:instancePath+"/comment",schemaPath:"#/properties/comment/maxLength",keyword:"maxLength",params:{limit: 4000},message:"must NOT have more than 4000 characters"}];
return false;
}
}
else {
validate10.errors = [{instancePath:instancePath+"/comment",schemaPath:"#/properties/comment/type",keyword:"type",params:{type: "string"},message:"must be string"}];
return false;
}
}
var valid0 = _errs13 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.unusable !== undefined){
let data7 = data.unusable;
const _errs15 = errors;
if(!(((((((((((data7 === "") || (data7 === "not-displayed")) || (data7 === "poor-quality")) || (data7 === "motion")) || (data7 === "rotation")) || (data7 === "wrong-view")) || (data7 === "wrong-body-part")) || (data7 === "incomplete")) || (data7 === "foreign-object")) || (data7 === "identity-visible")) || (data7 === "other"))){
validate10.errors = [{instancePath:instancePath+"/unusable",schemaPath:"#/properties/unusable/enum",keyword:"enum",params:{allowedValues: schema11.properties.unusable.enum},message:"must be equal to one of the allowed values"}];
return false;
}
var valid0 = _errs15 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.measurements !== undefined){
let data8 = data.measurements;
const _errs16 = errors;
if(errors === _errs16){
if(Array.isArray(data8)){
if(data8.length > 500){
validate10.errors = [{instancePath:instancePath+"/measurements",schemaPath:"#/properties/measurements/maxItems",keyword:"maxItems",params:{limit: 500},message:"must NOT have more than 500 items"}];
return false;
}
else {
var valid5 = true;
const len1 = data8.length;
for(let i1=0; i1<len1; i1++){
const _errs18 = errors;
if(!(validate13(data8[i1], {instancePath:instancePath+"/measurements/" + i1,parentData:data8,parentDataProperty:i1,rootData}))){
vErrors = vErrors === null ? validate13.errors : vErrors.concat(validate13.errors);
errors = vErrors.length;
}
var valid5 = _errs18 === errors;
if(!valid5){
break;
}
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/measurements",schemaPath:"#/properties/measurements/type",keyword:"type",params:{type: "array"},message:"must be array"}];
return false;
}
}
var valid0 = _errs16 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.image !== undefined){
let data10 = data.image;
const _errs19 = errors;
if(errors === _errs19){
if(data10 && typeof data10 == "object" && !Array.isArray(data10)){
let missing1;
if(((data10.rows === undefined) && (missing1 = "rows")) || ((data10.columns === undefined) && (missing1 = "columns"))){
validate10.errors = [{instancePath:instancePath+"/image",schemaPath:"#/properties/image/required",keyword:"required",params:{missingProperty: missing1},message:"must have required property '"+missing1+"'"}];
return false;
}
else {
const _errs21 = errors;
for(const key3 in data10){
if(!((((key3 === "sop_instance_uid") || (key3 === "rows")) || (key3 === "columns")) || (key3 === "stand_in"))){
validate10.errors = [{instancePath:instancePath+"/image",schemaPath:"#/properties/image/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key3},message:"must NOT have additional properties"}];
return false;
break;
}
}
if(_errs21 === errors){
if(data10.sop_instance_uid !== undefined){
let data11 = data10.sop_instance_uid;
const _errs22 = errors;
if(errors === _errs22){
if(typeof data11 === "string"){
if(func3(data11) > 64){
validate10.errors = [{instancePath:instancePath+"/image/sop_instance_uid",schemaPath:"#/properties/image/properties/sop_instance_uid/maxLength",keyword:"maxLength",params:{limit: 64},message:"must NOT have more than 64 characters"}];
return false;
}
}
else {
validate10.errors = [{instancePath:instancePath+"/image/sop_instance_uid",schemaPath:"#/properties/image/properties/sop_instance_uid/type",keyword:"type",params:{type: "string"},message:"must be string"}];
return false;
}
}
var valid6 = _errs22 === errors;
}
else {
var valid6 = true;
}
if(valid6){
if(data10.rows !== undefined){
let data12 = data10.rows;
const _errs24 = errors;
if(!(((typeof data12 == "number") && (!(data12 % 1) && !isNaN(data12))) && (isFinite(data12)))){
validate10.errors = [{instancePath:instancePath+"/image/rows",schemaPath:"#/properties/image/properties/rows/type",keyword:"type",params:{type: "integer"},message:"must be integer"}];
return false;
}
if(errors === _errs24){
if((typeof data12 == "number") && (isFinite(data12))){
if(data12 < 1 || isNaN(data12)){
validate10.errors = [{instancePath:instancePath+"/image/rows",schemaPath:"#/properties/image/properties/rows/minimum",keyword:"minimum",params:{comparison: ">=", limit: 1},message:"must be >= 1"}];
return false;
}
}
}
var valid6 = _errs24 === errors;
}
else {
var valid6 = true;
}
if(valid6){
if(data10.columns !== undefined){
let data13 = data10.columns;
const _errs26 = errors;
if(!(((typeof data13 == "number") && (!(data13 % 1) && !isNaN(data13))) && (isFinite(data13)))){
validate10.errors = [{instancePath:instancePath+"/image/columns",schemaPath:"#/properties/image/properties/columns/type",keyword:"type",params:{type: "integer"},message:"must be integer"}];
return false;
}
if(errors === _errs26){
if((typeof data13 == "number") && (isFinite(data13))){
if(data13 < 1 || isNaN(data13)){
validate10.errors = [{instancePath:instancePath+"/image/columns",schemaPath:"#/properties/image/properties/columns/minimum",keyword:"minimum",params:{comparison: ">=", limit: 1},message:"must be >= 1"}];
return false;
}
}
}
var valid6 = _errs26 === errors;
}
else {
var valid6 = true;
}
if(valid6){
if(data10.stand_in !== undefined){
const _errs28 = errors;
if(typeof data10.stand_in !== "boolean"){
validate10.errors = [{instancePath:instancePath+"/image/stand_in",schemaPath:"#/properties/image/properties/stand_in/type",keyword:"type",params:{type: "boolean"},message:"must be boolean"}];
return false;
}
var valid6 = _errs28 === errors;
}
else {
var valid6 = true;
}
}
}
}
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/image",schemaPath:"#/properties/image/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
var valid0 = _errs19 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.viewport !== undefined){
let data15 = data.viewport;
const _errs30 = errors;
if(errors === _errs30){
if(data15 && typeof data15 == "object" && !Array.isArray(data15)){
const _errs32 = errors;
for(const key4 in data15){
if(!(((((((key4 === "window_center") || (key4 === "window_width")) || (key4 === "inverted")) || (key4 === "center_px")) || (key4 === "zoom")) || (key4 === "rotation_deg")) || (key4 === "mirrored"))){
validate10.errors = [{instancePath:instancePath+"/viewport",schemaPath:"#/properties/viewport/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key4},message:"must NOT have additional properties"}];
return false;
break;
}
}
if(_errs32 === errors){
if(data15.window_center !== undefined){
let data16 = data15.window_center;
const _errs33 = errors;
if(!((typeof data16 == "number") && (isFinite(data16)))){
validate10.errors = [{instancePath:instancePath+"/viewport/window_center",schemaPath:"#/properties/viewport/properties/window_center/type",keyword:"type",params:{type: "number"},message:"must be number"}];
return false;
}
var valid7 = _errs33 === errors;
}
else {
var valid7 = true;
}
if(valid7){
if(data15.window_width !== undefined){
let data17 = data15.window_width;
const _errs35 = errors;
if(!((typeof data17 == "number") && (isFinite(data17)))){
validate10.errors = [{instancePath:instancePath+"/viewport/window_width",schemaPath:"#/properties/viewport/properties/window_width/type",keyword:"type",params:{type: "number"},message:"must be number"}];
return false;
}
var valid7 = _errs35 === errors;
}
else {
var valid7 = true;
}
if(valid7){
if(data15.inverted !== undefined){
const _errs37 = errors;
if(typeof data15.inverted !== "boolean"){
validate10.errors = [{instancePath:instancePath+"/viewport/inverted",schemaPath:"#/properties/viewport/properties/inverted/type",keyword:"type",params:{type: "boolean"},message:"must be boolean"}];
return false;
}
var valid7 = _errs37 === errors;
}
else {
var valid7 = true;
}
if(valid7){
if(data15.center_px !== undefined){
let data19 = data15.center_px;
const _errs39 = errors;
const _errs40 = errors;
if(errors === _errs40){
if(Array.isArray(data19)){
if(data19.length > 2){
validate10.errors = [{instancePath:instancePath+"/viewport/center_px",schemaPath:"#/definitions/point/maxItems",keyword:"maxItems",params:{limit: 2},message:"must NOT have more than 2 items"}];
return false;
}
else {
if(data19.length < 2){
validate10.errors = [{instancePath:instancePath+"/viewport/center_px",schemaPath:"#/definitions/point/minItems",keyword:"minItems",params:{limit: 2},message:"must NOT have fewer than 2 items"}];
return false;
}
else {
var valid9 = true;
const len2 = data19.length;
for(let i2=0; i2<len2; i2++){
let data20 = data19[i2];
const _errs42 = errors;
if(errors === _errs42){
if((typeof data20 == "number") && (isFinite(data20))){
if(data20 > 1000000 || isNaN(data20)){
validate10.errors = [{instancePath:instancePath+"/viewport/center_px/" + i2,schemaPath:"#/definitions/point/items/maximum",keyword:"maximum",params:{comparison: "<=", limit: 1000000},message:"must be <= 1000000"}];
return false;
}
else {
if(data20 < -1000000 || isNaN(data20)){
validate10.errors = [{instancePath:instancePath+"/viewport/center_px/" + i2,schemaPath:"#/definitions/point/items/minimum",keyword:"minimum",params:{comparison: ">=", limit: -1000000},message:"must be >= -1000000"}];
return false;
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/viewport/center_px/" + i2,schemaPath:"#/definitions/point/items/type",keyword:"type",params:{type: "number"},message:"must be number"}];
return false;
}
}
var valid9 = _errs42 === errors;
if(!valid9){
break;
}
}
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/viewport/center_px",schemaPath:"#/definitions/point/type",keyword:"type",params:{type: "array"},message:"must be array"}];
return false;
}
}
var valid7 = _errs39 === errors;
}
else {
var valid7 = true;
}
if(valid7){
if(data15.zoom !== undefined){
let data21 = data15.zoom;
const _errs44 = errors;
if(!((typeof data21 == "number") && (isFinite(data21)))){
validate10.errors = [{instancePath:instancePath+"/viewport/zoom",schemaPath:"#/properties/viewport/properties/zoom/type",keyword:"type",params:{type: "number"},message:"must be number"}];
return false;
}
var valid7 = _errs44 === errors;
}
else {
var valid7 = true;
}
if(valid7){
if(data15.rotation_deg !== undefined){
let data22 = data15.rotation_deg;
const _errs46 = errors;
if(!((((data22 === 0) || (data22 === 90)) || (data22 === 180)) || (data22 === 270))){
validate10.errors = [{instancePath:instancePath+"/viewport/rotation_deg",schemaPath:"#/properties/viewport/properties/rotation_deg/enum",keyword:"enum",params:{allowedValues: schema11.properties.viewport.properties.rotation_deg.enum},message:"must be equal to one of the allowed values"}];
return false;
}
var valid7 = _errs46 === errors;
}
else {
var valid7 = true;
}
if(valid7){
if(data15.mirrored !== undefined){
const _errs47 = errors;
if(typeof data15.mirrored !== "boolean"){
validate10.errors = [{instancePath:instancePath+"/viewport/mirrored",schemaPath:"#/properties/viewport/properties/mirrored/type",keyword:"type",params:{type: "boolean"},message:"must be boolean"}];
return false;
}
var valid7 = _errs47 === errors;
}
else {
var valid7 = true;
}
}
}
}
}
}
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/viewport",schemaPath:"#/properties/viewport/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
var valid0 = _errs30 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.timings !== undefined){
let data24 = data.timings;
const _errs49 = errors;
if(errors === _errs49){
if(data24 && typeof data24 == "object" && !Array.isArray(data24)){
const _errs51 = errors;
for(const key5 in data24){
if(!(((((key5 === "opened_at") || (key5 === "sent_at")) || (key5 === "first_image_ms")) || (key5 === "active_seconds")) || (key5 === "first_read_seconds"))){
validate10.errors = [{instancePath:instancePath+"/timings",schemaPath:"#/properties/timings/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key5},message:"must NOT have additional properties"}];
return false;
break;
}
}
if(_errs51 === errors){
if(data24.opened_at !== undefined){
let data25 = data24.opened_at;
const _errs52 = errors;
if(errors === _errs52){
if(typeof data25 === "string"){
if(func3(data25) > 40){
validate10.errors = [{instancePath:instancePath+"/timings/opened_at",schemaPath:"#/properties/timings/properties/opened_at/maxLength",keyword:"maxLength",params:{limit: 40},message:"must NOT have more than 40 characters"}];
return false;
}
}
else {
validate10.errors = [{instancePath:instancePath+"/timings/opened_at",schemaPath:"#/properties/timings/properties/opened_at/type",keyword:"type",params:{type: "string"},message:"must be string"}];
return false;
}
}
var valid10 = _errs52 === errors;
}
else {
var valid10 = true;
}
if(valid10){
if(data24.sent_at !== undefined){
let data26 = data24.sent_at;
const _errs54 = errors;
if(errors === _errs54){
if(typeof data26 === "string"){
if(func3(data26) > 40){
validate10.errors = [{instancePath:instancePath+"/timings/sent_at",schemaPath:"#/properties/timings/properties/sent_at/maxLength",keyword:"maxLength",params:{limit: 40},message:"must NOT have more than 40 characters"}];
return false;
}
}
else {
validate10.errors = [{instancePath:instancePath+"/timings/sent_at",schemaPath:"#/properties/timings/properties/sent_at/type",keyword:"type",params:{type: "string"},message:"must be string"}];
return false;
}
}
var valid10 = _errs54 === errors;
}
else {
var valid10 = true;
}
if(valid10){
if(data24.first_image_ms !== undefined){
let data27 = data24.first_image_ms;
const _errs56 = errors;
if(errors === _errs56){
if((typeof data27 == "number") && (isFinite(data27))){
if(data27 < 0 || isNaN(data27)){
validate10.errors = [{instancePath:instancePath+"/timings/first_image_ms",schemaPath:"#/properties/timings/properties/first_image_ms/minimum",keyword:"minimum",params:{comparison: ">=", limit: 0},message:"must be >= 0"}];
return false;
}
}
else {
validate10.errors = [{instancePath:instancePath+"/timings/first_image_ms",schemaPath:"#/properties/timings/properties/first_image_ms/type",keyword:"type",params:{type: "number"},message:"must be number"}];
return false;
}
}
var valid10 = _errs56 === errors;
}
else {
var valid10 = true;
}
if(valid10){
if(data24.active_seconds !== undefined){
let data28 = data24.active_seconds;
const _errs58 = errors;
if(errors === _errs58){
if((typeof data28 == "number") && (isFinite(data28))){
if(data28 < 0 || isNaN(data28)){
validate10.errors = [{instancePath:instancePath+"/timings/active_seconds",schemaPath:"#/properties/timings/properties/active_seconds/minimum",keyword:"minimum",params:{comparison: ">=", limit: 0},message:"must be >= 0"}];
return false;
}
}
else {
validate10.errors = [{instancePath:instancePath+"/timings/active_seconds",schemaPath:"#/properties/timings/properties/active_seconds/type",keyword:"type",params:{type: "number"},message:"must be number"}];
return false;
}
}
var valid10 = _errs58 === errors;
}
else {
var valid10 = true;
}
if(valid10){
if(data24.first_read_seconds !== undefined){
let data29 = data24.first_read_seconds;
const _errs60 = errors;
if(errors === _errs60){
if((typeof data29 == "number") && (isFinite(data29))){
if(data29 < 0 || isNaN(data29)){
validate10.errors = [{instancePath:instancePath+"/timings/first_read_seconds",schemaPath:"#/properties/timings/properties/first_read_seconds/minimum",keyword:"minimum",params:{comparison: ">=", limit: 0},message:"must be >= 0"}];
return false;
}
}
else {
validate10.errors = [{instancePath:instancePath+"/timings/first_read_seconds",schemaPath:"#/properties/timings/properties/first_read_seconds/type",keyword:"type",params:{type: "number"},message:"must be number"}];
return false;
}
}
var valid10 = _errs60 === errors;
}
else {
var valid10 = true;
}
}
}
}
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/timings",schemaPath:"#/properties/timings/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
var valid0 = _errs49 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.actions !== undefined){
let data30 = data.actions;
const _errs62 = errors;
if(errors === _errs62){
if(data30 && typeof data30 == "object" && !Array.isArray(data30)){
const _errs64 = errors;
for(const key6 in data30){
if(!(((((key6 === "clicks") || (key6 === "keys")) || (key6 === "changes")) || (key6 === "undone")) || (key6 === "by_kind"))){
validate10.errors = [{instancePath:instancePath+"/actions",schemaPath:"#/properties/actions/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key6},message:"must NOT have additional properties"}];
return false;
break;
}
}
if(_errs64 === errors){
if(data30.clicks !== undefined){
let data31 = data30.clicks;
const _errs65 = errors;
if(!(((typeof data31 == "number") && (!(data31 % 1) && !isNaN(data31))) && (isFinite(data31)))){
validate10.errors = [{instancePath:instancePath+"/actions/clicks",schemaPath:"#/properties/actions/properties/clicks/type",keyword:"type",params:{type: "integer"},message:"must be integer"}];
return false;
}
if(errors === _errs65){
if((typeof data31 == "number") && (isFinite(data31))){
if(data31 < 0 || isNaN(data31)){
validate10.errors = [{instancePath:instancePath+"/actions/clicks",schemaPath:"#/properties/actions/properties/clicks/minimum",keyword:"minimum",params:{comparison: ">=", limit: 0},message:"must be >= 0"}];
return false;
}
}
}
var valid11 = _errs65 === errors;
}
else {
var valid11 = true;
}
if(valid11){
if(data30.keys !== undefined){
let data32 = data30.keys;
const _errs67 = errors;
if(!(((typeof data32 == "number") && (!(data32 % 1) && !isNaN(data32))) && (isFinite(data32)))){
validate10.errors = [{instancePath:instancePath+"/actions/keys",schemaPath:"#/properties/actions/properties/keys/type",keyword:"type",params:{type: "integer"},message:"must be integer"}];
return false;
}
if(errors === _errs67){
if((typeof data32 == "number") && (isFinite(data32))){
if(data32 < 0 || isNaN(data32)){
validate10.errors = [{instancePath:instancePath+"/actions/keys",schemaPath:"#/properties/actions/properties/keys/minimum",keyword:"minimum",params:{comparison: ">=", limit: 0},message:"must be >= 0"}];
return false;
}
}
}
var valid11 = _errs67 === errors;
}
else {
var valid11 = true;
}
if(valid11){
if(data30.changes !== undefined){
let data33 = data30.changes;
const _errs69 = errors;
if(!(((typeof data33 == "number") && (!(data33 % 1) && !isNaN(data33))) && (isFinite(data33)))){
validate10.errors = [{instancePath:instancePath+"/actions/changes",schemaPath:"#/properties/actions/properties/changes/type",keyword:"type",params:{type: "integer"},message:"must be integer"}];
return false;
}
if(errors === _errs69){
if((typeof data33 == "number") && (isFinite(data33))){
if(data33 < 0 || isNaN(data33)){
validate10.errors = [{instancePath:instancePath+"/actions/changes",schemaPath:"#/properties/actions/properties/changes/minimum",keyword:"minimum",params:{comparison: ">=", limit: 0},message:"must be >= 0"}];
return false;
}
}
}
var valid11 = _errs69 === errors;
}
else {
var valid11 = true;
}
if(valid11){
if(data30.undone !== undefined){
let data34 = data30.undone;
const _errs71 = errors;
if(!(((typeof data34 == "number") && (!(data34 % 1) && !isNaN(data34))) && (isFinite(data34)))){
validate10.errors = [{instancePath:instancePath+"/actions/undone",schemaPath:"#/properties/actions/properties/undone/type",keyword:"type",params:{type: "integer"},message:"must be integer"}];
return false;
}
if(errors === _errs71){
if((typeof data34 == "number") && (isFinite(data34))){
if(data34 < 0 || isNaN(data34)){
validate10.errors = [{instancePath:instancePath+"/actions/undone",schemaPath:"#/properties/actions/properties/undone/minimum",keyword:"minimum",params:{comparison: ">=", limit: 0},message:"must be >= 0"}];
return false;
}
}
}
var valid11 = _errs71 === errors;
}
else {
var valid11 = true;
}
if(valid11){
if(data30.by_kind !== undefined){
let data35 = data30.by_kind;
const _errs73 = errors;
if(errors === _errs73){
if(data35 && typeof data35 == "object" && !Array.isArray(data35)){
for(const key7 in data35){
let data36 = data35[key7];
const _errs76 = errors;
if(!(((typeof data36 == "number") && (!(data36 % 1) && !isNaN(data36))) && (isFinite(data36)))){
validate10.errors = [{instancePath:instancePath+"/actions/by_kind/" + key7.replace(/~/g, "~0").replace(/\//g, "~1"),schemaPath:"#/properties/actions/properties/by_kind/additionalProperties/type",keyword:"type",params:{type: "integer"},message:"must be integer"}];
return false;
}
if(errors === _errs76){
if((typeof data36 == "number") && (isFinite(data36))){
if(data36 < 0 || isNaN(data36)){
validate10.errors = [{instancePath:instancePath+"/actions/by_kind/" + key7.replace(/~/g, "~0").replace(/\//g, "~1"),schemaPath:"#/properties/actions/properties/by_kind/additionalProperties/minimum",keyword:"minimum",params:{comparison: ">=", limit: 0},message:"must be >= 0"}];
return false;
}
}
}
var valid12 = _errs76 === errors;
if(!valid12){
break;
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/actions/by_kind",schemaPath:"#/properties/actions/properties/by_kind/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
var valid11 = _errs73 === errors;
}
else {
var valid11 = true;
}
}
}
}
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/actions",schemaPath:"#/properties/actions/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
var valid0 = _errs62 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.assistance !== undefined){
let data37 = data.assistance;
const _errs78 = errors;
if(errors === _errs78){
if(data37 && typeof data37 == "object" && !Array.isArray(data37)){
let missing2;
if(((data37.mode === undefined) && (missing2 = "mode")) || ((data37.model === undefined) && (missing2 = "model"))){
validate10.errors = [{instancePath:instancePath+"/assistance",schemaPath:"#/properties/assistance/required",keyword:"required",params:{missingProperty: missing2},message:"must have required property '"+missing2+"'"}];
return false;
}
else {
const _errs80 = errors;
for(const key8 in data37){
if(!(((((key8 === "mode") || (key8 === "model")) || (key8 === "probabilities")) || (key8 === "first")) || (key8 === "taken_regions"))){
validate10.errors = [{instancePath:instancePath+"/assistance",schemaPath:"#/properties/assistance/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key8},message:"must NOT have additional properties"}];
return false;
break;
}
}
if(_errs80 === errors){
if(data37.mode !== undefined){
let data38 = data37.mode;
const _errs81 = errors;
if(!(((data38 === "off") || (data38 === "after-first-read")) || (data38 === "shown"))){
validate10.errors = [{instancePath:instancePath+"/assistance/mode",schemaPath:"#/properties/assistance/properties/mode/enum",keyword:"enum",params:{allowedValues: schema11.properties.assistance.properties.mode.enum},message:"must be equal to one of the allowed values"}];
return false;
}
var valid13 = _errs81 === errors;
}
else {
var valid13 = true;
}
if(valid13){
if(data37.model !== undefined){
let data39 = data37.model;
const _errs82 = errors;
if(errors === _errs82){
if(typeof data39 === "string"){
if(func3(data39) > 200){
validate10.errors = [{instancePath:instancePath+"/assistance/model",schemaPath:"#/properties/assistance/properties/model/maxLength",keyword:"maxLength",params:{limit: 200},message:"must NOT have more than 200 characters"}];
return false;
}
}
else {
validate10.errors = [{instancePath:instancePath+"/assistance/model",schemaPath:"#/properties/assistance/properties/model/type",keyword:"type",params:{type: "string"},message:"must be string"}];
return false;
}
}
var valid13 = _errs82 === errors;
}
else {
var valid13 = true;
}
if(valid13){
if(data37.probabilities !== undefined){
let data40 = data37.probabilities;
const _errs84 = errors;
if(errors === _errs84){
if(data40 && typeof data40 == "object" && !Array.isArray(data40)){
for(const key9 in data40){
let data41 = data40[key9];
const _errs87 = errors;
if(errors === _errs87){
if((typeof data41 == "number") && (isFinite(data41))){
if(data41 > 1 || isNaN(data41)){
validate10.errors = [{instancePath:instancePath+"/assistance/probabilities/" + key9.replace(/~/g, "~0").replace(/\//g, "~1"),schemaPath:"#/properties/assistance/properties/probabilities/additionalProperties/maximum",keyword:"maximum",params:{comparison: "<=", limit: 1},message:"must be <= 1"}];
return false;
}
else {
if(data41 < 0 || isNaN(data41)){
validate10.errors = [{instancePath:instancePath+"/assistance/probabilities/" + key9.replace(/~/g, "~0").replace(/\//g, "~1"),schemaPath:"#/properties/assistance/properties/probabilities/additionalProperties/minimum",keyword:"minimum",params:{comparison: ">=", limit: 0},message:"must be >= 0"}];
return false;
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/assistance/probabilities/" + key9.replace(/~/g, "~0").replace(/\//g, "~1"),schemaPath:"#/properties/assistance/properties/probabilities/additionalProperties/type",keyword:"type",params:{type: "number"},message:"must be number"}];
return false;
}
}
var valid14 = _errs87 === errors;
if(!valid14){
break;
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/assistance/probabilities",schemaPath:"#/properties/assistance/properties/probabilities/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
var valid13 = _errs84 === errors;
}
else {
var valid13 = true;
}
if(valid13){
if(data37.first !== undefined){
let data42 = data37.first;
const _errs89 = errors;
if(errors === _errs89){
if(data42 && typeof data42 == "object" && !Array.isArray(data42)){
let missing3;
if(((data42.labels === undefined) && (missing3 = "labels")) || ((data42.regions === undefined) && (missing3 = "regions"))){
validate10.errors = [{instancePath:instancePath+"/assistance/first",schemaPath:"#/properties/assistance/properties/first/required",keyword:"required",params:{missingProperty: missing3},message:"must have required property '"+missing3+"'"}];
return false;
}
else {
const _errs91 = errors;
for(const key10 in data42){
if(!(((key10 === "labels") || (key10 === "regions")) || (key10 === "unusable"))){
validate10.errors = [{instancePath:instancePath+"/assistance/first",schemaPath:"#/properties/assistance/properties/first/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key10},message:"must NOT have additional properties"}];
return false;
break;
}
}
if(_errs91 === errors){
if(data42.labels !== undefined){
let data43 = data42.labels;
const _errs92 = errors;
const _errs93 = errors;
if(errors === _errs93){
if(data43 && typeof data43 == "object" && !Array.isArray(data43)){
for(const key11 in data43){
const _errs95 = errors;
if(typeof key11 === "string"){
if(func3(key11) > 200){
const err3 = {instancePath:instancePath+"/assistance/first/labels",schemaPath:"#/definitions/labels/propertyNames/maxLength",keyword:"maxLength",params:{limit: 200},message:"must NOT have more than 200 characters",propertyName:key11};
if(vErrors === null){
vErrors = [err3];
}
else {
vErrors.push(err3);
}
errors++;
}
else {
if(func3(key11) < 1){
const err4 = {instancePath:instancePath+"/assistance/first/labels",schemaPath:"#/definitions/labels/propertyNames/minLength",keyword:"minLength",params:{limit: 1},message:"must NOT have fewer than 1 characters",propertyName:key11};
if(vErrors === null){
vErrors = [err4];
}
else {
vErrors.push(err4);
}
errors++;
}
}
}
var valid17 = _errs95 === errors;
if(!valid17){
const err5 = {instancePath:instancePath+"/assistance/first/labels",schemaPath:"#/definitions/labels/propertyNames",keyword:"propertyNames",params:{propertyName: key11},message:"property name must be valid"};
if(vErrors === null){
vErrors = [err5];
}
else {
vErrors.push(err5);
}
errors++;
validate10.errors = vErrors;
return false;
break;
}
}
if(valid17){
for(const key12 in data43){
let data44 = data43[key12];
const _errs97 = errors;
if(!((((data44 === "positive") || (data44 === "uncertain")) || (data44 === "negative")) || (data44 === "unknown"))){
validate10.errors = [{instancePath:instancePath+"/assistance/first/labels/" + key12.replace(/~/g, "~0").replace(/\//g, "~1"),schemaPath:"#/definitions/labels/additionalProperties/enum",keyword:"enum",params:{allowedValues: schema12.additionalProperties.enum},message:"must be equal to one of the allowed values"}];
return false;
}
var valid18 = _errs97 === errors;
if(!valid18){
break;
}
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/assistance/first/labels",schemaPath:"#/definitions/labels/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
var valid15 = _errs92 === errors;
}
else {
var valid15 = true;
}
if(valid15){
if(data42.regions !== undefined){
let data45 = data42.regions;
const _errs98 = errors;
if(errors === _errs98){
if(Array.isArray(data45)){
if(data45.length > 500){
validate10.errors = [{instancePath:instancePath+"/assistance/first/regions",schemaPath:"#/properties/assistance/properties/first/properties/regions/maxItems",keyword:"maxItems",params:{limit: 500},message:"must NOT have more than 500 items"}];
return false;
}
else {
var valid19 = true;
const len3 = data45.length;
for(let i3=0; i3<len3; i3++){
const _errs100 = errors;
if(!(validate11(data45[i3], {instancePath:instancePath+"/assistance/first/regions/" + i3,parentData:data45,parentDataProperty:i3,rootData}))){
vErrors = vErrors === null ? validate11.errors : vErrors.concat(validate11.errors);
errors = vErrors.length;
}
var valid19 = _errs100 === errors;
if(!valid19){
break;
}
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/assistance/first/regions",schemaPath:"#/properties/assistance/properties/first/properties/regions/type",keyword:"type",params:{type: "array"},message:"must be array"}];
return false;
}
}
var valid15 = _errs98 === errors;
}
else {
var valid15 = true;
}
if(valid15){
if(data42.unusable !== undefined){
let data47 = data42.unusable;
const _errs101 = errors;
if(errors === _errs101){
if(typeof data47 === "string"){
if(func3(data47) > 40){
validate10.errors = [{instancePath:instancePath+"/assistance/first/unusable",schemaPath:"#/properties/assistance/properties/first/properties/unusable/maxLength",keyword:"maxLength",params:{limit: 40},message:"must NOT have more than 40 characters"}];
return false;
}
}
else {
validate10.errors = [{instancePath:instancePath+"/assistance/first/unusable",schemaPath:"#/properties/assistance/properties/first/properties/unusable/type",keyword:"type",params:{type: "string"},message:"must be string"}];
return false;
}
}
var valid15 = _errs101 === errors;
}
else {
var valid15 = true;
}
}
}
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/assistance/first",schemaPath:"#/properties/assistance/properties/first/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
var valid13 = _errs89 === errors;
}
else {
var valid13 = true;
}
if(valid13){
if(data37.taken_regions !== undefined){
let data48 = data37.taken_regions;
const _errs103 = errors;
if(!(((typeof data48 == "number") && (!(data48 % 1) && !isNaN(data48))) && (isFinite(data48)))){
validate10.errors = [{instancePath:instancePath+"/assistance/taken_regions",schemaPath:"#/properties/assistance/properties/taken_regions/type",keyword:"type",params:{type: "integer"},message:"must be integer"}];
return false;
}
if(errors === _errs103){
if((typeof data48 == "number") && (isFinite(data48))){
if(data48 < 0 || isNaN(data48)){
validate10.errors = [{instancePath:instancePath+"/assistance/taken_regions",schemaPath:"#/properties/assistance/properties/taken_regions/minimum",keyword:"minimum",params:{comparison: ">=", limit: 0},message:"must be >= 0"}];
return false;
}
}
}
var valid13 = _errs103 === errors;
}
else {
var valid13 = true;
}
}
}
}
}
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/assistance",schemaPath:"#/properties/assistance/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
var valid0 = _errs78 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.adjudication !== undefined){
let data49 = data.adjudication;
const _errs105 = errors;
if(errors === _errs105){
if(data49 && typeof data49 == "object" && !Array.isArray(data49)){
let missing4;
if((((data49.readers === undefined) && (missing4 = "readers")) || ((data49.agreed === undefined) && (missing4 = "agreed"))) || ((data49.decided === undefined) && (missing4 = "decided"))){
validate10.errors = [{instancePath:instancePath+"/adjudication",schemaPath:"#/properties/adjudication/required",keyword:"required",params:{missingProperty: missing4},message:"must have required property '"+missing4+"'"}];
return false;
}
else {
const _errs107 = errors;
for(const key13 in data49){
if(!(((key13 === "readers") || (key13 === "agreed")) || (key13 === "decided"))){
validate10.errors = [{instancePath:instancePath+"/adjudication",schemaPath:"#/properties/adjudication/additionalProperties",keyword:"additionalProperties",params:{additionalProperty: key13},message:"must NOT have additional properties"}];
return false;
break;
}
}
if(_errs107 === errors){
if(data49.readers !== undefined){
let data50 = data49.readers;
const _errs108 = errors;
if(!(((typeof data50 == "number") && (!(data50 % 1) && !isNaN(data50))) && (isFinite(data50)))){
validate10.errors = [{instancePath:instancePath+"/adjudication/readers",schemaPath:"#/properties/adjudication/properties/readers/type",keyword:"type",params:{type: "integer"},message:"must be integer"}];
return false;
}
if(errors === _errs108){
if((typeof data50 == "number") && (isFinite(data50))){
if(data50 < 2 || isNaN(data50)){
validate10.errors = [{instancePath:instancePath+"/adjudication/readers",schemaPath:"#/properties/adjudication/properties/readers/minimum",keyword:"minimum",params:{comparison: ">=", limit: 2},message:"must be >= 2"}];
return false;
}
}
}
var valid20 = _errs108 === errors;
}
else {
var valid20 = true;
}
if(valid20){
if(data49.agreed !== undefined){
let data51 = data49.agreed;
const _errs110 = errors;
if(errors === _errs110){
if(Array.isArray(data51)){
var valid21 = true;
const len4 = data51.length;
for(let i4=0; i4<len4; i4++){
const _errs112 = errors;
if(typeof data51[i4] !== "string"){
validate10.errors = [{instancePath:instancePath+"/adjudication/agreed/" + i4,schemaPath:"#/properties/adjudication/properties/agreed/items/type",keyword:"type",params:{type: "string"},message:"must be string"}];
return false;
}
var valid21 = _errs112 === errors;
if(!valid21){
break;
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/adjudication/agreed",schemaPath:"#/properties/adjudication/properties/agreed/type",keyword:"type",params:{type: "array"},message:"must be array"}];
return false;
}
}
var valid20 = _errs110 === errors;
}
else {
var valid20 = true;
}
if(valid20){
if(data49.decided !== undefined){
let data53 = data49.decided;
const _errs114 = errors;
if(errors === _errs114){
if(data53 && typeof data53 == "object" && !Array.isArray(data53)){
for(const key14 in data53){
let data54 = data53[key14];
const _errs117 = errors;
if(errors === _errs117){
if(Array.isArray(data54)){
var valid23 = true;
const len5 = data54.length;
for(let i5=0; i5<len5; i5++){
let data55 = data54[i5];
const _errs119 = errors;
if(errors === _errs119){
if(typeof data55 === "string"){
if(func3(data55) > 8){
validate10.errors = [{instancePath:instancePath+"/adjudication/decided/" + key14.replace(/~/g, "~0").replace(/\//g, "~1")+"/" + i5,schemaPath:"#/properties/adjudication/properties/decided/additionalProperties/items/maxLength",keyword:"maxLength",params:{limit: 8},message:"must NOT have more than 8 characters"}];
return false;
}
}
else {
validate10.errors = [{instancePath:instancePath+"/adjudication/decided/" + key14.replace(/~/g, "~0").replace(/\//g, "~1")+"/" + i5,schemaPath:"#/properties/adjudication/properties/decided/additionalProperties/items/type",keyword:"type",params:{type: "string"},message:"must be string"}];
return false;
}
}
var valid23 = _errs119 === errors;
if(!valid23){
break;
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/adjudication/decided/" + key14.replace(/~/g, "~0").replace(/\//g, "~1"),schemaPath:"#/properties/adjudication/properties/decided/additionalProperties/type",keyword:"type",params:{type: "array"},message:"must be array"}];
return false;
}
}
var valid22 = _errs117 === errors;
if(!valid22){
break;
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/adjudication/decided",schemaPath:"#/properties/adjudication/properties/decided/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
var valid20 = _errs114 === errors;
}
else {
var valid20 = true;
}
}
}
}
}
}
else {
validate10.errors = [{instancePath:instancePath+"/adjudication",schemaPath:"#/properties/adjudication/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
var valid0 = _errs105 === errors;
}
else {
var valid0 = true;
}
if(valid0){
if(data.page !== undefined){
let data56 = data.page;
const _errs121 = errors;
if(errors === _errs121){
if(typeof data56 === "string"){
if(func3(data56) > 40){
validate10.errors = [{instancePath:instancePath+"/page",schemaPath:"#/properties/page/maxLength",keyword:"maxLength",params:{limit: 40},message:"must NOT have more than 40 characters"}];
return false;
}
}
else {
validate10.errors = [{instancePath:instancePath+"/page",schemaPath:"#/properties/page/type",keyword:"type",params:{type: "string"},message:"must be string"}];
return false;
}
}
var valid0 = _errs121 === errors;
}
else {
var valid0 = true;
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
}
else {
validate10.errors = [{instancePath,schemaPath:"#/type",keyword:"type",params:{type: "object"},message:"must be object"}];
return false;
}
}
validate10.errors = vErrors;
return errors === 0;
}
