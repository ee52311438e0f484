// Predictions of a model that `gformer export` wrote, with onnxruntime alone: one batch, source and adapted.
//
//   predict site.onnx images.f32
//
// images.f32 holds float32 (B, 3, S, S), prepared as the model's preprocessing says.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

// The strings of a JSON list. gformer escapes quotes, backslashes and control characters alone.
std::vector<std::string> read_list(const std::string& json) {
    std::vector<std::string> found;
    for (std::size_t at = 1; at + 1 < json.size(); ++at) {
        if (json[at] != '"') continue;
        std::string one;
        for (++at; json.at(at) != '"'; ++at) {
            if (json[at] != '\\') {
                one += json[at];
                continue;
            }
            const std::string letters = "bfnrt", meant = "\b\f\n\r\t";
            const auto which = letters.find(json.at(++at));
            if (json[at] == 'u') {
                one += static_cast<char>(std::stoi(json.substr(at + 1, 4), nullptr, 16));
                at += 4;
            } else {
                one += which == std::string::npos ? json[at] : meant[which];
            }
        }
        found.push_back(one);
    }
    return found;
}

std::vector<float> read_floats(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    std::vector<float> values(bytes.size() / sizeof(float));
    std::copy_n(bytes.begin(), values.size() * sizeof(float), reinterpret_cast<char*>(values.data()));
    return values;
}

// The class of one row of logits, and its probability.
std::string best(const float* row, const std::vector<std::string>& classes) {
    const float* highest = std::max_element(row, row + classes.size());
    double sum = 0.0;
    for (const float* one = row; one != row + classes.size(); ++one) sum += std::exp(double(*one) - *highest);
    return classes[highest - row] + " (" + std::to_string(1.0 / sum) + ")";
}

void predict(const std::string& model, const std::string& images) {
    Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "gformer");
    Ort::Session session(env, std::filesystem::path(model).c_str(), Ort::SessionOptions());
    Ort::AllocatorWithDefaultOptions allocator;

    const auto metadata = session.GetModelMetadata();
    const auto json = metadata.LookupCustomMetadataMapAllocated("classes", allocator);
    const auto kind = metadata.LookupCustomMetadataMapAllocated("kind", allocator);
    if (!json || !kind) throw std::runtime_error(model + " has no classes: give a file that gformer export wrote");
    const auto classes = read_list(json.get());

    const auto type = session.GetInputTypeInfo(0);
    const auto wants = type.GetTensorTypeAndShapeInfo();
    if (wants.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
        throw std::runtime_error(model + " takes no float32: export it without --with-preprocessing");
    }
    auto shape = wants.GetShape();  // (-1, 3, S, S)
    const auto one = static_cast<std::size_t>(shape[1] * shape[2] * shape[3]);
    auto values = read_floats(images);
    if (values.empty() || values.size() % one != 0) {
        throw std::runtime_error(images + " holds no whole images of " + std::to_string(one) + " float32 each");
    }
    shape[0] = static_cast<std::int64_t>(values.size() / one);
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const auto input = Ort::Value::CreateTensor(memory, values.data(), values.size(), shape.data(), shape.size());

    std::vector<const char*> wanted;
    for (const char* name : {"logits", "source_logits", "decision"}) {
        for (std::size_t at = 0; at < session.GetOutputCount(); ++at) {
            if (std::string(name) == session.GetOutputNameAllocated(at, allocator).get()) wanted.push_back(name);
        }
    }
    const char* name = "images";
    const auto outputs = session.Run(Ort::RunOptions(), &name, &input, 1, wanted.data(), wanted.size());

    const char* decisions[] = {"generated", "blended", "source"};
    if (wanted.size() == 3) std::cout << "guard: " << decisions[*outputs[2].GetTensorData<std::int64_t>()] << "\n";
    const std::string predicts = std::string(kind.get()) == "source" ? "source" : "adapted";
    for (std::int64_t at = 0; at < shape[0]; ++at) {
        std::cout << at << ":";
        if (wanted.size() > 1) {
            std::cout << " source " << best(outputs[1].GetTensorData<float>() + at * classes.size(), classes) << ",";
        }
        const float* row = outputs[0].GetTensorData<float>() + at * classes.size();
        std::cout << " " << predicts << " " << best(row, classes) << "\n";
    }
}

int main(int count, char** words) {
    if (count != 3) {
        std::cerr << "usage: predict MODEL.onnx IMAGES.f32\n";
        return 2;
    }
    try {
        predict(words[1], words[2]);
    } catch (const std::exception& error) {
        std::cerr << "predict: " << error.what() << "\n";
        return 1;
    }
}
